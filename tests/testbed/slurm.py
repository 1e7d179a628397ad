"""Run a private Slurm with power saving: munged, slurmctld and slurmd of the system's packages."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.testbed import slurmnode
from tests.testbed.loopback import loopback
from tests.testbed.ports import Ports
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child, tail
from tests.testbed.slurm_conf import Layout, SlurmSettings, cgroup_conf, slurm_conf
from tests.testbed.waiting import until

START_TIMEOUT = 30.0
# Slurm 24.11 looks up a node that has been off by its name, and stops for 10 s if nobody knows it. So
# slurmctld has a file of hosts of its own, where / can be mounted again: in a plain chroot it cannot.
_OWN_HOSTS = 'mount --make-rslave / 2>/dev/null && mount --bind "$0" /etc/hosts; exec "$@"'
PROGRAMS = ("munged", "slurmctld", "slurmd", "scontrol", "sbatch")


class SlurmError(RuntimeError):
    """A Slurm command failed; the message is its output."""


class PrivateSlurm:
    """A private slurmctld and munged: on loopback, with all files below one folder.

    Use as a context manager. Nodes start powered down; `boot` and `halt` act as the cloud.
    """

    def __init__(self, folder: Path, settings: SlurmSettings | None = None) -> None:
        """Create the folder and the configuration; start nothing.

        Args:
            folder: For all files of Slurm; need not exist. The path must be short: the path of a
                Unix socket has at most 107 bytes.
            settings: Settings that differ from the defaults.

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
        """The path of slurm.conf, the value of SLURM_CONF."""
        return self.layout.conf

    @property
    def conf_dir(self) -> Path:
        """The folder of slurm.conf, in which programs run by Slurm look for their own settings."""
        return self.layout.conf_dir

    @property
    def log(self) -> Path:
        """The log of slurmctld."""
        return self.layout.log_dir / "slurmctld.log"

    def start(self) -> None:
        """Start munged, slurmctld and the node that is always on (about 1 s).

        Raises:
            RuntimeError: A daemon ended (the message holds the end of its log), or this machine
                cannot run slurmd.
            TimeoutError: slurmctld does not answer.
        """
        slurmnode.require_namespaces()
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
        """Start slurmctld only, if it does not run; raises the same errors as `start`."""
        if not self.ctld_runs:
            self._ctld = Child(
                [*self._prefix(), "slurmctld", "-D", "-s", "-f", self.conf],
                log=self.layout.log_dir / "slurmctld.out",
                env=self.environment() | dict(self.settings.environment),
            )
        until(self._answers, START_TIMEOUT, "the private slurmctld")

    def _prefix(self) -> list[str | Path]:
        """The words before slurmctld's command: on loopback and, for root, with names for all nodes."""
        if os.geteuid() != 0:
            return [*self._loopback.prefix]
        hosts = self.conf_dir / "hosts"
        names = " ".join(self.settings.node_names)
        hosts.write_text(f"{Path('/etc/hosts').read_text()}\n127.0.0.1 {names}\n")
        private = ("unshare", "--mount", "--propagation", "unchanged")
        return [*self._loopback.prefix, *private, "sh", "-c", _OWN_HOSTS, hosts]

    @property
    def ctld_runs(self) -> bool:
        """Whether slurmctld was started, and runs."""
        return self._ctld is not None and self._ctld.running

    @property
    def pid(self) -> int:
        """The process ID of slurmctld, which must have been started."""
        assert self._ctld
        return self._ctld.pid

    def stop_ctld(self) -> None:
        """Stop slurmctld cleanly; 22.05 first waits up to 12 s for running hooks."""
        if self._ctld:
            self._ctld.stop(grace=30.0)

    def kill9_ctld(self) -> None:
        """Kill slurmctld; its running hooks continue, each in its own process group."""
        if self._ctld:
            self._ctld.kill()

    def restart_ctld(self) -> None:
        """Stop slurmctld and start it again."""
        self.stop_ctld()
        self.start_ctld()

    def boot(self, node: str) -> None:
        """Start the node's slurmd; it registers within about a second."""
        slurmnode.boot(node, self.conf)

    def boot_resumed(self, *nodes: str) -> None:
        """Boot nodes once Slurm has resumed them; a boot in the same second counts as an older one."""
        wanted = set(nodes)

        def resumed() -> bool:
            states = self.node_states()
            return all("POWERING_UP" in states[node] for node in wanted)

        until(resumed, 60, f"{', '.join(nodes)} to be resumed")
        second = int(time.time())
        until(lambda: int(time.time()) > second, 5, "the next second")
        for node in nodes:
            self.boot(node)

    def halt(self, node: str) -> None:
        """Cut the node's power: slurmd and all its jobs end at once."""
        slurmnode.halt(node, self.conf)

    def booted(self) -> list[str]:
        """Return the names of the nodes whose slurmd runs, sorted."""
        return slurmnode.booted(self.conf)

    def sbatch(self, script: str, **options: str | int | bool) -> int:
        """Submit a job; return its id.

        Args:
            script: The job's script, beginning with #!.
            options: sbatch's long options, such as nodes=2 or no_requeue=True.
        """
        words = [f"--output={self.layout.output_dir}/%j.out", f"--chdir={self.layout.output_dir}"]
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            words.append(option if value is True else f"{option}={value}")
        return int(self.run("sbatch", "--parsable", *words, text=script).strip())

    def output(self, job_id: int) -> str:
        """Return the output of a job so far."""
        path = self.layout.output_dir / f"{job_id}.out"
        return path.read_text() if path.exists() else ""

    def scontrol(self, *arguments: str) -> str:
        """Run scontrol and return its output."""
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
            if line.startswith("NodeName=")  # a comment may have lines of its own
        }

    def node_reason(self, node: str) -> str:
        """Return the reason why a node is out of service; empty if it is in service."""
        shown = self.scontrol("--oneliner", "show", "node", node)
        found = re.search(r"Reason=(.*?) \[[^\]]*@", shown)
        return found[1] if found else ""

    def job_state(self, job_id: int) -> str:
        """Return a job's state, such as PENDING or COMPLETED."""
        return _field(self.scontrol("--oneliner", "show", "job", str(job_id)), "JobState")

    def job_node(self, job_id: int) -> str:
        """Return the nodes of a job as a hostlist; empty before it has nodes."""
        node = _field(self.scontrol("--oneliner", "show", "job", str(job_id)), "NodeList")
        return "" if node == "(null)" else node

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        """Run a Slurm command; return its standard output.

        Args:
            program: The command, such as squeue.
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
        """Return an environment in which Slurm commands use this slurmctld."""
        return MINIMAL_ENVIRONMENT | {"SLURM_CONF": str(self.conf)}

    def close(self) -> None:
        """Kill all daemons and nodes and release the ports; the folder stays."""
        with self._resources:
            for daemon in (self._munged, self._ctld):
                if daemon:
                    self._resources.callback(daemon.kill_session)
            self._resources.callback(slurmnode.end, self.conf)

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
            log = self.log if self.log.exists() else self._ctld.log
            raise RuntimeError(f"slurmctld has ended:\n{tail(log)}")
        try:
            if " UP" not in self.scontrol("ping"):
                return False
        except SlurmError:
            return False
        return True


def packaged_version() -> tuple[int, int]:
    """Return the version of the installed Slurm, such as (22, 5).

    Raises:
        RuntimeError: Programs of Slurm are missing.
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
