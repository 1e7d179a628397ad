"""Virtual nodes: each is a real slurmd in its own PID namespace, which ends as a whole like a VM.

Also a command, for the clouds' power hooks: python -m tests.testbed.slurmnode boot|halt NODE
--slurm-conf PATH. Both actions are idempotent; any process may call them at any time.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.loopback import loopback
from tests.testbed.processes import MINIMAL_ENVIRONMENT, tail
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Process:
    """A process, identified by pid and start time (clock ticks since the machine's boot).

    See proc(5), /proc/PID/stat, fields 3 and 22.
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Identify a process; None if it does not exist or is a zombie."""
        try:
            # The second field, the program's name, may contain blanks and brackets.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    def running(self) -> bool:
        """Whether this process still runs."""
        return Process.of(self.pid) == self


def require_namespaces() -> None:
    """Check that this machine lets us start virtual nodes.

    Raises:
        RuntimeError: It does not; the message holds the reason.
    """
    done = subprocess.run(
        [*_namespaces(), "true"],
        env=MINIMAL_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            "the nodes' slurmd cannot run here, because their namespaces cannot be created: "
            f"{done.stderr.strip()} (run as root, with /proc mounted)"
        )


def boot(node: str, slurm_conf: Path) -> None:
    """Start the node's slurmd, if it does not run; return without waiting for its registration.

    Raises:
        RuntimeError: The namespace or slurmd could not be started.
    """
    with _locked(node, slurm_conf) as record:
        if all(process.running() for process in _read(record)) and record.exists():
            return
        if _ended(slurm_conf).exists():
            return
        folder = slurm_conf.parent.parent
        (folder / "spool" / node).mkdir(exist_ok=True)
        log = folder / "log" / f"boot-{node}.log"
        outer = _spawn(_command(node, slurm_conf), slurm_conf, log)
        inner = until(lambda: _child(outer, log), 10.0, f"the slurmd of {node}")
        processes = [process for pid in (outer, inner) if (process := Process.of(pid))]
        record.write_text(json.dumps([[process.pid, process.start] for process in processes]))


def halt(node: str, slurm_conf: Path) -> None:
    """Kill the node's slurmd and all its jobs at once, like a power failure; wait for their end."""
    with _locked(node, slurm_conf) as record:
        processes = _read(record)
        for process in processes:
            if process.running():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        until(lambda: not any(p.running() for p in processes), 10.0, f"the end of {node}")
        record.unlink(missing_ok=True)


def end(slurm_conf: Path) -> None:
    """Halt all nodes, also one that a cloud is booting just now; none boots from now on."""
    _ended(slurm_conf).touch()
    for lock in _folder(slurm_conf).glob("*.lock"):
        halt(lock.stem, slurm_conf)


def booted(slurm_conf: Path) -> list[str]:
    """Return the names of the nodes that were booted and not yet halted, sorted."""
    return sorted(path.stem for path in _folder(slurm_conf).glob("*.json"))


def _command(node: str, slurm_conf: Path) -> list[str]:
    # -b: the node has just booted. Otherwise Slurm sees the machine's own boot time, older than its
    # request to resume, and waits for another registration until ResumeTimeout.
    return [*_namespaces(), "slurmd", "-D", "-b", "-N", node, "-f", str(slurm_conf)]


def _namespaces() -> list[str]:
    """Return the beginning of a command that runs in namespaces of its own."""
    where = loopback()
    # A PID namespace needs privileges; an unprivileged user has them in a user namespace.
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    return [
        *("unshare", *user, *where.unshare, "--pid", "--fork", "--kill-child=KILL"),
        # The default propagation can only be set if / is a mount point, which in a chroot it is not.
        *("--mount-proc", "--propagation", "unchanged", *where.rename),
    ]


def _spawn(command: list[str], slurm_conf: Path, log: Path) -> int:
    """Start a program in its own session, with no signal blocked.

    Programs that Slurm 22.05 starts inherit eleven blocked signals and pass them on.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawnp(
        command[0],
        command,
        MINIMAL_ENVIRONMENT | {"SLURM_CONF": str(slurm_conf)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
    )


def _child(pid: int, log: Path) -> int | None:
    """Return the pid of a process's first child; None if it has no child yet."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        children = []
    if not children and Process.of(pid) is None:
        raise RuntimeError(f"slurmd did not start:\n{tail(log)}")
    return int(children[0]) if children else None


def _folder(slurm_conf: Path) -> Path:
    return slurm_conf.parent.parent / "nodes"


def _ended(slurm_conf: Path) -> Path:
    return _folder(slurm_conf) / "ended"


@contextmanager
def _locked(node: str, slurm_conf: Path) -> Iterator[Path]:
    """Hold the node's lock; yield the path of the node's record."""
    folder = _folder(slurm_conf)
    with (folder / f"{node}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / f"{node}.json"


def _read(record: Path) -> list[Process]:
    try:
        return [Process(pid, start) for pid, start in json.loads(record.read_text())]
    except FileNotFoundError:
        return []


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.slurmnode")
    # The simulated cloud names its events power_on and power_off.
    actions = {"boot": boot, "power_on": boot, "halt": halt, "power_off": halt}
    parser.add_argument("action", choices=actions)
    parser.add_argument("node")
    parser.add_argument("--slurm-conf", type=Path, required=True)
    options = parser.parse_args(arguments)
    actions[options.action](options.node, options.slurm_conf.absolute())
    return 0


if __name__ == "__main__":
    sys.exit(main())
