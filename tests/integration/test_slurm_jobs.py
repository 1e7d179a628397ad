"""The events that the slurm worker publishes about jobs, with a real slurmctld; the test acts as the power worker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause, Transition
from schemas.jobs import JobEvent, JobTransition, job_event_from
from tests.integration.test_slurm_worker import QUOTA, Bench, ended
from tests.testbed.installation import Installation
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.broker import topology
from workers.slurm.causes import reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

NODES = 9
NO_REQUEUE = "--no-requeue"


@pytest.fixture(scope="module")
def jobdata(session_dir: Path) -> Path:
    """SLURM_JOBDATA_PATH of OPUS."""
    return session_dir / "uws"


@pytest.fixture(scope="module")
def bench(session_dir: Path, broker: Broker, jobdata: Path) -> Iterator[Bench]:
    vhost = broker.create_vhost()
    settings = SlurmSettings(nodes=NODES, suspend_time=600, suspend_timeout=5, resume_timeout=300)
    with PrivateSlurm(session_dir / "jobs", replace(settings, cred_expire=120)) as slurm:
        site = Installation(slurm.conf_dir, broker.amqp_url(vhost))
        site.config.write_text(
            site.config.read_text()
            + f'[slurm]\ngive_back_after = 1\nuws_jobdata = "{jobdata}"\n'
            + '[clouds.c]\nauth_url = "http://127.0.0.1:1/v3"\nproject_id = "p"\n'
            'source = { type = "password", username = "u", password_command = ["true"] }\n'
            '[groups.dry]\nnodes = "node9"\ncloud = "c"\ndry_run = true\n'
        )
        site.prepare()
        yield Bench(slurm, site)
    broker.delete_vhost(vhost)


def submit(bench: Bench, script: Path, node: str, *more: str) -> int:
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("#!/bin/sh\nsleep 60\n")
    arguments = ("--parsable", "--output=/dev/null", f"--nodelist={node}", *more)
    job_id = int(bench.slurm.run("sbatch", *arguments, str(script)).strip())
    until(lambda: bench.slurm.job_state(job_id) == "CONFIGURING", 30, "the job to have its node")
    return job_id


def job_events(bench: Bench) -> list[JobEvent]:
    """The events about jobs since the last call."""
    events = []
    for _, body in bench.site.drain(topology.AUDIT_QUEUE):
        try:
            events.append(job_event_from(parse(body)))
        except MalformedMessageError:
            continue
    return events


def test_ended_job_is_reported_and_requeued_job_is_not(bench: Bench, jobdata: Path) -> None:
    """A script path that imitates another job neither identifies a UWS job nor counts as a line."""
    hostile = jobdata / "f755f0" / "x\n1|NODE_FAIL|node2" / "sbatch.sh"
    jobs = {
        "node1": submit(bench, jobdata / "f755f0" / "sbatch.sh", "node1", NO_REQUEUE),
        "node2": submit(bench, jobdata / "c0ffee" / "sbatch.sh", "node2"),
        "node3": submit(bench, hostile, "node3", NO_REQUEUE),
    }
    requested = [bench.resume(node, jobs=(job_id,))[0] for node, job_id in jobs.items()]
    with bench.worker():
        bench.publish(*(ended(command, Transition.FAILED, QUOTA) for command in requested))
        until(lambda: bench.site.depth(topology.AUDIT_QUEUE) >= 7, 30, "all events")
        until(
            lambda: "requeued_jobs_started" in bench.site.logs(),
            20,
            "the requeued job to be started",
        )
        bench.wait_acknowledged()
    events = {(e.transition, e.job_id): e for e in job_events(bench)}
    assert {key: e.uws_id for key, e in events.items()} == {
        (JobTransition.IDENTIFIED, jobs["node1"]): "f755f0",
        (JobTransition.IDENTIFIED, jobs["node2"]): "c0ffee",
        (JobTransition.FAILED, jobs["node1"]): "f755f0",
        (JobTransition.FAILED, jobs["node3"]): None,
    }
    failed = events[JobTransition.FAILED, jobs["node1"]]
    assert (failed.state, failed.nodes, failed.cause) == ("NODE_FAIL", ("node1",), QUOTA)
    bench.slurm.run("scancel", str(jobs["node2"]))


def test_no_part_of_a_heterogeneous_job_is_delayed_if_one_loses_its_node(bench: Bench) -> None:
    """Slurm requeues them all for cred_expire, and starts them together."""
    nodes, slurm = ("node5", "node6"), bench.slurm
    words = ("-N1", f"--nodelist={nodes[0]}", ":", "-N1", f"--nodelist={nodes[1]}")
    job = int(slurm.run("sbatch", "--parsable", *words, text="#!/bin/sh\nsleep 60\n"))

    def waits_for() -> list[str]:
        return slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%T:%r").split()

    until(lambda: [x.split(":")[0] for x in waits_for()] == ["CONFIGURING"] * 2, 30, "both nodes")
    (requested,) = bench.resume(nodes[1], jobs=(job + 1,))
    with bench.worker():
        bench.publish(ended(requested, Transition.FAILED, QUOTA))
        until(lambda: "requeued_jobs_started" in bench.site.logs(), 20, "the job to be started")
        until(lambda: waits_for() == ["PENDING:Resources"] * 2, 20, "both parts to wait for nodes")
        bench.wait_acknowledged()
    slurm.run("scancel", str(job))


def test_job_of_a_node_that_never_registers_is_reported_though_the_hook_does_not_name_it(
    bench: Bench, jobdata: Path
) -> None:
    """After Slurm's ResumeTimeout: ResumeFailProgram receives only the node."""
    slurm = bench.slurm
    job_id = submit(bench, jobdata / "abcdef" / "sbatch.sh", "node4", NO_REQUEUE)
    bench.resume("node4", jobs=(job_id,))
    slurm.scontrol("update", "NodeName=node4", "State=DOWN", "Reason=ResumeTimeout reached")
    slurm.scontrol("update", "NodeName=node4", "State=POWER_DOWN")
    (given_up,) = bench.accept(Kind.RESUME_FAIL, "node4")
    with bench.worker():
        bench.publish(ended(given_up, Transition.COMPLETED))
        event = until(lambda: failure_of(bench, job_id), 20, "the event of the job")
        bench.wait_acknowledged()
    assert (event.job_id, event.uws_id, event.state) == (job_id, "abcdef", "NODE_FAIL")
    assert event.cause is not None
    assert event.cause.error == "resume_timeout"


def test_job_of_a_node_that_was_given_back_is_reported_after_a_crash(
    bench: Bench, jobdata: Path
) -> None:
    """Between the update of Slurm and the event of the job, no delivery would come again."""
    job_id = submit(bench, jobdata / "0a1b2c" / "sbatch.sh", "node5", NO_REQUEUE)
    (requested,) = bench.resume("node5", jobs=(job_id,))
    with bench.site.start("worker", "slurm") as worker:
        bench.publish(ended(requested, Transition.PARKED, Cause("network", "no route")))
        until(
            lambda: bench.slurm.job_state(job_id) == "NODE_FAIL",
            20,
            "the end of the job",
            interval=0.005,
        )
        worker.kill()
    with bench.worker():
        until(lambda: failure_of(bench, job_id), 30, "the event of the job")


def failure_of(bench: Bench, job_id: int) -> JobEvent | None:
    """The event of that job's failure since the last call."""
    events = (e for e in job_events(bench) if e.transition is JobTransition.FAILED)
    return next((e for e in events if e.job_id == job_id), None)


def has_notice(bench: Bench, name: str) -> bool:
    """Whether the notice names the skipped update and its reason."""
    bodies = [body for _, body in bench.site.drain(topology.AUDIT_QUEUE)]
    notices = [body for body in bodies if f"lamplighter.{name}.v1".encode() in body]
    return any(b"take_out: lamplighter: quota" in body for body in notices)


def test_dry_run_does_not_update_slurm(bench: Bench) -> None:
    (requested,) = bench.resume("node9")
    away = Cause("network", "no route")
    with bench.worker():
        bench.publish(
            ended(requested, Transition.PARKED, away),
            ended(requested, Transition.FAILED, QUOTA),
        )
        bench.wait_acknowledged()
        until(lambda: has_notice(bench, "group.dry_run"), 20, "the notice")
    assert bench.slurm.node_reason("node9") != reason(QUOTA)
    assert bench.has("node9", "POWERING_UP")
    assert not bench.has("node9", "DOWN")
