"""A private Slurm with power saving: real munged, slurmctld and slurmd of the system's packages."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.testbed import slurmnode
from tests.testbed.loopback import loopback
from tests.testbed.ports import Ports
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child, tail
from tests.testbed.slurm_conf import Layout, SlurmSettings, cgroup_conf, slurm_conf
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT = 30.0
PROGRAMS = ("munged", "slurmctld", "slurmd", "scontrol", "sbatch")


class SlurmError(RuntimeError):
    """A command of Slurm failed; the message is what it printed."""


class PrivateSlurm:
    """slurmctld and munged of their owner alone, on loopback, all files below one folder.

    Use as a context manager. Nodes start powered down; `boot` and `halt` play the cloud.
    """

    def __init__(self, folder: Path, settings: SlurmSettings | None = None) -> None:
        """Lay out the folder; nothing runs yet.

        Args:
            folder: Will hold all that Slurm writes; need not exist. Its path must be short: a
                Unix socket's path has at most 107 bytes.
            settings: What is not as usual.

        Raises:
            RuntimeError: Slurm is not installed, or cannot be kept on loopback.
        """
        self.settings = settings or SlurmSettings()
        self.layout = Layout(folder)
        self.version = packaged_version()
        self._loopback = loopback()
        self._resources = ExitStack()
        ports = self._resources.enter_context(Ports())
        self.port = ports.take()
        node_ports = ports.take_block(self.settings.nodes + self.settings.always_on)
        self._munged: Child | None = None
        self._ctld: Child | None = None
        self.layout.create()
        self.conf.write_text(
            slurm_conf(self.settings, self.layout, self._loopback.host, self.port, node_ports)
        )
        if text := cgroup_conf(self.version):
            (self.conf_dir / "cgroup.conf").write_text(text)
        key = self.layout.munge / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))

    @property
    def conf(self) -> Path:
        """Path of slurm.conf, the value of SLURM_CONF."""
        return self.layout.conf

    @property
    def conf_dir(self) -> Path:
        """Folder of slurm.conf, where the programs that Slurm runs look for their own settings."""
        return self.layout.conf_dir

    @property
    def log(self) -> Path:
        """The log of slurmctld."""
        return self.layout.log_dir / "slurmctld.log"

    def start(self) -> None:
        """Start munged, slurmctld and the node that is always on (about 1 s).

        Raises:
            RuntimeError: A daemon ended or power saving is off; the message holds the log's end.
            TimeoutError: slurmctld does not answer.
        """
        munge = self.layout.munge
        self._munged = Child(
            [
                *("munged", "--foreground", f"--key-file={munge}/munge.key"),
                *(f"--socket={self.layout.socket}", f"--pid-file={munge}/munged.pid"),
                *(f"--log-file={munge}/munged.log", f"--seed-file={munge}/munged.seed"),
                "--num-threads=2",
            ],
            log=munge / "munged.out",
        )
        until(self._munged_listens, START_TIMEOUT, "the private munged")
        self.start_ctld()
        if self.settings.always_on:
            self.boot("static1")

    def start_ctld(self) -> None:
        """Start slurmctld alone; raises as `start` does."""
        self._ctld = Child(
            [*self._loopback.prefix, "slurmctld", "-D", "-s", "-f", self.conf],
            log=self.layout.log_dir / "slurmctld.out",
            env=self.environment(),
        )
        until(self._answers, START_TIMEOUT, "the private slurmctld")

    def stop_ctld(self) -> None:
        """Stop slurmctld in good order; 22.05 first waits up to 12 s for the hooks it runs."""
        if self._ctld:
            self._ctld.stop(grace=30.0)

    def kill9_ctld(self) -> None:
        """Kill slurmctld; hooks it has started go on, each in a process group of its own."""
        if self._ctld:
            self._ctld.kill()

    def restart_ctld(self) -> None:
        """Stop slurmctld and start it again."""
        self.stop_ctld()
        self.start_ctld()

    def boot(self, node: str) -> None:
        """Start the node's slurmd; it registers within a second or so."""
        slurmnode.boot(node, self.conf)

    def halt(self, node: str) -> None:
        """Cut the node's power: slurmd and all its jobs are gone at once."""
        slurmnode.halt(node, self.conf)

    def booted(self) -> list[str]:
        """Return the names of the nodes whose slurmd runs, sorted."""
        return slurmnode.booted(self.conf)

    def sbatch(self, script: str, **options: str | int | bool) -> int:
        """Submit a job; return its id.

        Args:
            script: The job's text, beginning with #!.
            options: sbatch's long options, as nodes=2 or no_requeue=True.
        """
        words = [f"--output={self.layout.output_dir}/%j.out", f"--chdir={self.layout.output_dir}"]
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            words.append(option if value is True else f"{option}={value}")
        return int(self.run("sbatch", "--parsable", *words, text=script).strip())

    def output(self, job_id: int) -> str:
        """Return what a job has printed so far."""
        path = self.layout.output_dir / f"{job_id}.out"
        return path.read_text() if path.exists() else ""

    def scontrol(self, *arguments: str) -> str:
        """Run scontrol and return what it prints."""
        return self.run("scontrol", *arguments)

    def node_state(self, node: str) -> frozenset[str]:
        """Return a node's base state and flags, such as {"IDLE", "CLOUD", "POWERED_DOWN"}."""
        return self.node_states()[node]

    def node_states(self) -> dict[str, frozenset[str]]:
        """Return the states of all nodes by name."""
        lines = self.scontrol("--oneliner", "show", "node").splitlines()
        return {
            _field(line, "NodeName"): frozenset(_field(line, "State").rstrip("*").split("+"))
            for line in lines
        }

    def node_reason(self, node: str) -> str:
        """Return the reason a node is out of service for; empty if it is in service."""
        shown = self.scontrol("--oneliner", "show", "node", node)
        found = re.search(r"Reason=(.*?) \[[^\]]*@", shown)
        return found[1] if found else ""

    def job_state(self, job_id: int) -> str:
        """Return a job's state, such as PENDING or COMPLETED."""
        return _field(self.scontrol("--oneliner", "show", "job", str(job_id)), "JobState")

    def job_node(self, job_id: int) -> str:
        """Return the nodes a job has, as a hostlist; empty before it has any."""
        node = _field(self.scontrol("--oneliner", "show", "job", str(job_id)), "NodeList")
        return "" if node == "(null)" else node

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        """Run one of Slurm's commands; return its standard output.

        Args:
            program: Such as squeue.
            arguments: Its arguments.
            text: Its standard input.

        Raises:
            SlurmError: It failed.
        """
        done = subprocess.run(
            [*self._loopback.prefix, program, *arguments],
            input=text,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise SlurmError(f"{program}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return an environment in which Slurm's commands talk to this slurmctld."""
        return MINIMAL_ENVIRONMENT | {"SLURM_CONF": str(self.conf)}

    def close(self) -> None:
        """End all daemons and nodes at once and give the ports back; the folder stays."""
        with self._resources:
            for daemon in (self._munged, self._ctld):
                if daemon:
                    self._resources.callback(daemon.kill_session)
            for node in self.booted():
                self._resources.callback(self.halt, node)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _munged_listens(self) -> bool:
        assert self._munged
        self._munged.require_running()
        return self.layout.socket.exists()

    def _answers(self) -> bool:
        assert self._ctld
        if not self._ctld.running:
            raise RuntimeError(f"slurmctld has ended:\n{tail(self.log)}")
        try:
            if " UP" not in self.scontrol("ping"):
                return False
        except SlurmError:
            return False
        return True


def packaged_version() -> tuple[int, int]:
    """Return the installed Slurm's version, such as (22, 5).

    Raises:
        RuntimeError: It is not installed, or only in part.
    """
    paths = {name: shutil.which(name, path=MINIMAL_ENVIRONMENT["PATH"]) for name in PROGRAMS}
    slurmctld = paths["slurmctld"]
    if not all(paths.values()) or not slurmctld:
        missing = ", ".join(name for name, path in paths.items() if not path)
        raise RuntimeError(
            f"no {missing}: install the packages munge, slurmctld, slurmd, slurm-client and "
            "slurm-wlm-basic-plugins"
        )
    printed = subprocess.run(
        [slurmctld, "-V"], env=MINIMAL_ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"(\d+)\.(\d+)", printed)
    if not found:
        raise RuntimeError(f"slurmctld -V printed no version: {printed}")
    return int(found[1]), int(found[2])


def _field(line: str, name: str) -> str:
    found = re.search(rf"(?:^|\s){name}=(\S+)", line)
    if not found:
        raise SlurmError(f"no {name} in: {line}")
    return found[1]
