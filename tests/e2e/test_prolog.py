"""lamplighter-prolog on a real slurmctld: jobs start with their nodes, and no failure holds one up.

All tests share one Slurm, whose slurm worker each test starts; each has its own nodes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from producers.hosts import expand
from tests.testbed.cluster import PROGRAMS, site_prolog
from tests.testbed.installation import Installation
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until, until_none

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.testbed.broker import Broker
    from tests.testbed.processes import Child

NODES = 200
SLOTS = 10
# Seconds that a script may hold up a job that is no longer to wait.
HELD = 2.0
# What it takes, on a busy machine, to see that a script has ended.
SEEN = 0.5
RESUME_TIMEOUT = 120
JOB = "#!/bin/sh\necho started\nsleep 60\n"


@dataclass
class Site:
    """A slurmctld with the prolog, and an installation beside it."""

    slurm: PrivateSlurm
    installation: Installation
    folder: Path
    nodes: Iterator[str] = field(default_factory=lambda: (f"node{i}" for i in range(1, NODES + 1)))

    @contextmanager
    def worker(self, resume_timeout: int = RESUME_TIMEOUT) -> Iterator[Child]:
        """Run the slurm worker inside the block, which believes in this ResumeTimeout."""
        config = self.installation.config
        believed = f"resume_timeout = {resume_timeout}\n"
        config.write_text(re.sub("resume_timeout = .*\n", believed, config.read_text()))
        with self.installation.start("worker", "slurm") as worker:
            until(lambda: "prolog_watched" in self.installation.logs(), 30, "the watcher")
            yield worker

    def submit(self, count: int = 1, **options: str | int | bool) -> tuple[int, list[str]]:
        """A job on new nodes, once it waits for them; its ID and its nodes."""
        names = [next(self.nodes) for _ in range(count)]
        job = self.slurm.sbatch(JOB, nodelist=",".join(names), nodes=count, **options)
        until(lambda: self.slurm.job_state(job) == "CONFIGURING", 60, f"job {job} to have nodes")
        return job, names

    def submit_array(self, count: int) -> tuple[int, list[str]]:
        """So many jobs on nodes of their own, as one array, once they wait for them; its ID and all nodes."""
        names = [next(self.nodes) for _ in range(count)]
        array = ["--parsable", f"--array=1-{count}", "--exclusive", "-N1"]
        job = int(self.slurm.run("sbatch", *array, f"--exclude={others(names)}", text=JOB))
        until(lambda: self.configuring() == count, 60, f"{count} jobs to have nodes")
        return job, names

    def configuring(self) -> int:
        """How many jobs wait for their nodes."""
        return self._jobs("CONFIGURING")

    def pending(self) -> int:
        """How many jobs wait for their turn."""
        return self._jobs("PENDING")

    def _jobs(self, states: str) -> int:
        options = ["--noheader", "--array", "--format=%A", f"--states={states}"]
        return len(self.slurm.run("squeue", *options).split())

    def registered(self, node: str) -> bool:
        return "POWERING_UP" not in self.slurm.node_state(node)

    def scripts(self) -> list[psutil.Process]:
        """The scripts that wait."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.folder) in (process.info["cmdline"] or ())
        ]

    def releases(self) -> dict[int, str]:
        """Why the watcher has let jobs go, by job ID."""
        lines = (json.loads(line) for line in self.installation.logs().splitlines())
        return {
            line["job"]: line["why"] for line in lines if line["event"] == "prolog_job_released"
        }

    def waited(self, job: int) -> float:
        """For how many seconds the watcher let a job's script wait."""
        lines = (json.loads(line) for line in self.installation.logs().splitlines())
        (found,) = [line["waited"] for line in lines if line.get("job") == job and "why" in line]
        return float(found)

    def waits(self, count: int) -> None:
        """Wait until so many scripts wait, and the watcher knows them all."""
        until(lambda: len(self.scripts()) == count, 20, f"{count} scripts to wait")
        # it removes a script's FIFO when it takes the script in
        until(lambda: self.held() == count, 20, f"{count} scripts to be known")

    def held(self) -> int:
        """How many FIFOs scripts have open that are in no folder any more: those of known scripts."""
        return sum(is_held(script.pid, self.folder) for script in self.scripts())

    def pids(self) -> set[int]:
        """The processes of the scripts that wait."""
        return {script.pid for script in self.scripts()}

    def save(self) -> None:
        """Wait until slurmctld has saved all jobs."""
        saved, now = self.folder.parent / "state" / "job_state", time.time()
        for job in self.slurm.run("squeue", "--noheader", "--format=%A").split():
            self.slurm.scontrol("update", f"JobId={job}", "Comment=saved")
        until(lambda: saved.stat().st_mtime > now, 30, "slurmctld to save the jobs")

    @contextmanager
    def not_held(self, left: int = 0) -> Iterator[None]:
        """Check that after what is done in the block the scripts, but for some, end soon enough."""
        yield
        began = time.monotonic()
        until(lambda: len(self.scripts()) == left, 30, f"{left} scripts to be left")
        assert time.monotonic() - began <= HELD + SEEN

    def end(self, job: int, *, scripts: bool = True) -> None:
        """Cancel a job, and wait until no script is left."""
        self.slurm.run("scancel", str(job))
        if scripts:
            until_none(self.scripts, 10, "the scripts")


@pytest.fixture(scope="module")
def site(session_dir: Path, broker: Broker) -> Iterator[Site]:
    vhost = broker.create_vhost()
    folder = session_dir / "prolog" / "waiting"
    program = site_prolog(session_dir / "site-prolog", folder)
    settings = SlurmSettings(
        nodes=NODES,
        suspend_time=600,
        resume_timeout=RESUME_TIMEOUT,
        extra_conf=(f"PrologSlurmctld={program}",),
    )
    with PrivateSlurm(session_dir / "prolog", settings) as slurm:
        more = (
            f'[slurm]\nresume_timeout = {RESUME_TIMEOUT}\nprolog = "{folder}"\nprolog_slots = {SLOTS}\n'
            '[clouds.c]\nauth_url = "http://127.0.0.1:1/v3"\nproject_id = "p"\n'
            'source = { type = "password", username = "u", password_command = ["true"] }\n'
            f'[groups.g]\nnodes = "node[1-{NODES}]"\ncloud = "c"\n'
        )
        installation = Installation(slurm.conf_dir, broker.amqp_url(vhost), more=more)
        installation.make_hook_folders()
        installation.prepare()
        yield Site(slurm, installation, folder)
    broker.delete_vhost(vhost)


def test_a_job_starts_when_the_last_of_its_nodes_has_registered(site: Site) -> None:
    with site.worker():
        job, names = site.submit(3)
        site.waits(1)
        for node in names[:2]:
            site.slurm.boot_resumed(node)
            until(partial(site.registered, node), 20, f"{node} to register")
        assert job not in site.releases()
        assert len(site.scripts()) == 1
        site.slurm.boot_resumed(names[2])
        until(lambda: site.releases().get(job) == "ready", 20, "the job to go on")
        until(lambda: site.slurm.output(job), 20, "the job to run")
        site.end(job)


@pytest.mark.parametrize("how", ["array", "het", "srun", "salloc"])
def test_every_kind_of_job_starts_with_its_nodes(site: Site, how: str) -> None:
    names = [next(site.nodes) for _ in range(2)]
    where, run = ",".join(names), site.slurm.run
    commands = {
        "array": ["sbatch", "--parsable", "--array=1-4", "--nodes=1", f"--nodelist={where}"],
        "het": ["sbatch", "--parsable", "-N1", f"-w{names[0]}", ":", "-N1", f"-w{names[1]}"],
        "srun": ["srun", "-N2", f"--nodelist={where}", "hostname"],
        "salloc": ["salloc", "-N2", f"--nodelist={where}", "true"],
    }
    with site.worker():
        if how in {"array", "het"}:
            if how == "array":
                commands[how] = ["sbatch", "--parsable", "--array=1-2", "--exclusive", "-N1"]
                commands[how] += [f"--exclude={others(names)}"]
            job = int(run(*commands[how], text=JOB))
            site.waits(2)
            site.slurm.boot_resumed(*names)
            until(lambda: list(site.releases().values()) == ["ready"] * 2, 20, "both to go on")
            until(lambda: "RUNNING" in site.slurm.job_state(job), 20, "the job to run")
            site.end(job)
        else:
            with subprocess.Popen(
                commands[how], env=site.slurm.environment(), stdout=subprocess.PIPE
            ) as waiting:
                site.waits(1)
                site.slurm.boot_resumed(*names)
                until(lambda: list(site.releases().values()) == ["ready"], 20, "the job to go on")
                assert waiting.wait(30) == 0
            until_none(site.scripts, 10, "the scripts")


def test_a_job_on_nodes_that_are_up_is_not_held(site: Site) -> None:
    with site.worker():
        job, names = site.submit(2)
        site.slurm.boot_resumed(*names)
        until(lambda: site.slurm.output(job), 30, "the first job to run")
        site.end(job)
        job = site.slurm.sbatch(JOB, nodelist=",".join(names), nodes=2)
        until(lambda: site.slurm.output(job), 60, "the second job to run")
        assert site.releases()[job] == "ready"
        assert site.waited(job) <= 1.0
        site.end(job)


def is_held(pid: int, folder: Path) -> bool:
    """Whether a process reads a FIFO that was removed from this folder."""
    try:
        links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it has just ended, or closed one
        return False
    return any(one.startswith(f"{folder}/wait.") and one.endswith(" (deleted)") for one in links)


def others(names: list[str]) -> str:
    """All nodes but these."""
    return ",".join(n for n in expand(f"node[1-{NODES}]") if n not in names)


@pytest.mark.parametrize("jobs", [1, 10])
@pytest.mark.parametrize("change", ["State=DOWN", "State=DRAIN", "State=POWER_DOWN_FORCE"])
def test_a_job_whose_node_does_not_become_ready_is_not_held(
    site: Site, change: str, jobs: int
) -> None:
    with site.worker():
        job, names = site.submit(2) if jobs == 1 else site.submit_array(jobs)
        site.waits(jobs)
        failing = ",".join(names[-jobs:])
        with site.not_held():
            site.slurm.scontrol("update", f"NodeName={failing}", change, "Reason=broken")
        assert len(site.releases()) == jobs
        assert set(site.releases().values()) <= {"node_failed", "left"}
        until(lambda: site.configuring() + site.pending() == jobs, 20, "all jobs to be kept")
        site.end(job)


@pytest.mark.parametrize("jobs", [1, 10])
@pytest.mark.parametrize("command", ["scancel", "requeue", "requeuehold"])
def test_a_job_that_leaves_its_nodes_is_not_held(site: Site, command: str, jobs: int) -> None:
    with site.worker():
        job, _names = site.submit_array(jobs)
        site.waits(jobs)
        with site.not_held():
            if command == "scancel":
                site.slurm.run("scancel", str(job))
            else:
                site.slurm.scontrol(command, str(job))
        until(lambda: len(site.releases()) == jobs, 20, "the watcher to know")
        kept = 0 if command == "scancel" else jobs
        until(lambda: site.pending() == kept, 20, "the jobs to wait for their next turn")
        assert set(site.releases().values()) == {"left"}
        site.end(job)


def test_a_requeued_job_is_not_held_by_another_one_on_its_node(site: Site) -> None:
    """Slurm does not start it again while its script waits, and the node still has a job."""
    with site.worker():
        leaves, names = site.submit()
        stays = site.slurm.sbatch(JOB, nodelist=names[0], nodes=1)
        site.waits(2)
        with site.not_held(left=1):
            site.slurm.scontrol("requeuehold", str(leaves))
        until(lambda: site.releases() == {leaves: "left"}, 20, "the watcher to know")
        assert site.slurm.job_state(stays) == "CONFIGURING"
        site.end(leaves, scripts=False)
        site.end(stays)


def test_a_requeued_task_of_an_array_is_not_held_by_another_one_on_its_node(site: Site) -> None:
    with site.worker():
        array = ["--parsable", "--array=1-2", "-n1", f"--nodelist={next(site.nodes)}"]
        job = int(site.slurm.run("sbatch", *array, text=JOB))
        site.waits(2)
        with site.not_held(left=1):
            site.slurm.scontrol("requeuehold", f"{job}_1")
        until(lambda: list(site.releases().values()) == ["left"], 20, "the watcher to know")
        site.end(job)


@pytest.mark.parametrize("jobs", [1, 10])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_no_job_waits_for_a_worker_that_does_not_answer(
    site: Site, number: signal.Signals, jobs: int
) -> None:
    with site.worker() as worker:
        job, _names = site.submit_array(jobs)
        site.waits(jobs)
        with site.not_held():
            worker.send(number)
        assert site.configuring() == jobs
        if number is signal.SIGSTOP:
            worker.send(signal.SIGCONT)
    site.end(job)


def test_without_a_worker_no_job_waits(site: Site) -> None:
    job, names = site.submit()
    until_none(site.scripts, 10, "the script")
    site.slurm.boot_resumed(names[0])
    until(lambda: site.slurm.output(job), 60, "the job to start by Slurm's timer")
    site.end(job)


def test_jobs_beyond_the_slots_go_on_at_once(site: Site) -> None:
    with site.worker():
        job, _names = site.submit_array(SLOTS + 2)
        site.waits(SLOTS)
        assert site.releases() == {}
        site.end(job)


@pytest.mark.parametrize("how", ["stop", "kill", "reconfigure"])
def test_slurmctld_ends_and_comes_back_while_jobs_wait(site: Site, how: str) -> None:
    """At a reconfigure, 22.05 leaves the scripts alone; 24.11 may end them for good."""
    with site.worker():
        rest, _names = site.submit_array(SLOTS - 4)
        waiting = [site.submit() for _ in range(4)]
        site.waits(SLOTS)
        site.save()
        before = {script.pid for script in site.scripts()}
        if how == "reconfigure":
            site.slurm.scontrol("reconfigure")
            until(lambda: " UP" in site.slurm.scontrol("ping"), 20, "slurmctld")
        else:
            (site.slurm.stop_ctld if how == "stop" else site.slurm.kill9_ctld)()
            until(lambda: not before & site.pids(), 20, "the scripts to end")
            site.slurm.start_ctld()
            site.waits(SLOTS)
        site.slurm.boot_resumed(*(names[0] for _, names in waiting))
        for job, _ in waiting:
            until(partial(site.slurm.output, job), 60, f"job {job} to run")
        for job in (rest, *(job for job, _ in waiting)):
            site.end(job, scripts=False)
        until_none(site.scripts, 10, "the scripts")


@pytest.mark.parametrize("jobs", [1, 10])
def test_a_job_whose_node_never_registers_is_requeued_as_without_the_prolog(
    site: Site, jobs: int
) -> None:
    """Slurm's ResumeTimeout ends the boot; the script does not keep the job from its next turn."""
    conf = site.slurm.conf.read_text()
    with site.worker():
        site.slurm.conf.write_text(
            conf.replace(f"ResumeTimeout={RESUME_TIMEOUT}", "ResumeTimeout=5")
        )
        try:
            site.slurm.scontrol("reconfigure")
            job, names = site.submit_array(jobs)
            site.waits(jobs)
            until(lambda: len(site.releases()) == jobs, 60, "the jobs to go on")
            assert set(site.releases().values()) == {"node_failed"}
            until(lambda: site.pending() == jobs, 10, "the jobs to be requeued")
            states = site.slurm.node_states()
            given_up = {"DOWN", "POWERED_DOWN", "POWERING_DOWN"}
            assert all(states[name] & given_up for name in names)
        finally:
            site.slurm.conf.write_text(conf)
            site.slurm.scontrol("reconfigure")
            site.end(job)


def test_a_slurmctld_that_hangs_holds_no_script_and_starts_the_jobs_when_it_goes_on(
    site: Site,
) -> None:
    with site.worker():
        waiting = [site.submit() for _ in range(2)]
        site.waits(2)
        os.kill(site.slurm.pid, signal.SIGSTOP)
        try:
            until_none(site.scripts, 30, "the scripts")
            assert set(site.releases().values()) == {"slurm_away"}
        finally:
            os.kill(site.slurm.pid, signal.SIGCONT)
        site.slurm.boot_resumed(*(names[0] for _, names in waiting))
        for job, _ in waiting:
            until(partial(site.slurm.output, job), 60, f"job {job} to start by Slurm's timer")
        for job, _ in waiting:
            site.end(job)


def test_no_script_waits_longer_than_the_ceiling(site: Site) -> None:
    """Where slurmctld still waits for a node after the time that we know as its ResumeTimeout."""
    with site.worker(resume_timeout=1):
        job, names = site.submit()
        site.waits(1)
        until_none(site.scripts, 30, "the script")
        assert site.releases()[job] == "ceiling"
        assert site.slurm.job_state(job) == "CONFIGURING"
        site.slurm.boot_resumed(*names)
        until(partial(site.slurm.output, job), 60, "the job to start by Slurm's timer")
        site.end(job)


def test_a_heterogeneous_job_is_not_held_by_the_part_whose_node_fails(site: Site) -> None:
    with site.worker():
        names = [next(site.nodes) for _ in range(2)]
        parts = ["-N1", f"-w{names[0]}", ":", "-N1", f"-w{names[1]}"]
        job = int(site.slurm.run("sbatch", "--parsable", *parts, text=JOB))
        site.waits(2)
        site.slurm.scontrol("update", f"NodeName={names[1]}", "State=DOWN", "Reason=broken")
        until_none(site.scripts, 20, "the scripts")
        site.end(job)


def test_all_waiting_jobs_are_released_before_slurmctld_stops(site: Site) -> None:
    with site.worker():
        jobs = [site.submit()[0] for _ in range(3)]
        site.waits(3)
        command = [str(PROGRAMS / "lamplighter-prolog"), "--release", str(site.folder)]
        assert subprocess.run(command, check=False, env={}).returncode == 0
        until_none(site.scripts, 5, "the scripts")
        for job in jobs:
            assert site.slurm.job_state(job) == "CONFIGURING"
            site.end(job)


def test_the_script_runs_as_the_user_and_leaves_no_process(site: Site) -> None:
    with site.worker():
        job, _names = site.submit()
        site.waits(1)
        (script,) = site.scripts()
        assert script.children() == []
        assert script.uids().real == os.geteuid()
        site.end(job)
