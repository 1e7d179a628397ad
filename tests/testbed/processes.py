"""Child processes that end with their owner's `with` block."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MINIMAL_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


class Child:
    """A running program: leader of its own process group, with its output appended to a log file.

    The leader is reaped only after its group has been killed. Until then no other process can get
    its pid, which is also the group's id, so no signal reaches a wrong process.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            argv: The program and its arguments; no secrets: every user can read them.
            log: Receives standard output and standard error.
            env: The whole environment; by default `MINIMAL_ENVIRONMENT`.
            cwd: Working directory.

        Raises:
            OSError: The program cannot be started.
        """
        self.name = Path(argv[0]).name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(MINIMAL_ENVIRONMENT if env is None else env),
                cwd=cwd,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the program still runs (after its end, its group may run on until `stop`)."""
        if self._popen.returncode is not None:
            return False
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # another thread has just reaped it
            return False
        return ended is None

    @property
    def returncode(self) -> int | None:
        """Exit status after `stop`, `kill` or `wait`; negative: the signal that ended it."""
        return self._popen.returncode

    def require_running(self) -> None:
        """Raise a RuntimeError that shows the end of the log if the program has ended."""
        if not self.running:
            raise RuntimeError(f"{self.name} (pid {self.pid}) has ended:\n{tail(self.log)}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program only, if it still runs."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Wait until the program ends by itself; return its exit status.

        Raises:
            TimeoutError: It still runs after `timeout` seconds.
        """
        until(lambda: not self.running, timeout, f"the end of {self.name} (pid {self.pid})")
        return self.kill()

    def stop(self, grace: float = 10.0) -> int:
        """Send SIGTERM, after `grace` seconds SIGKILL; return the exit status.

        Before SIGKILL a program that catches SIGQUIT gets that: a worker then writes where it hangs.
        """
        self.send(signal.SIGTERM)
        with suppress(TimeoutError):
            until(lambda: not self.running, grace, f"the end of {self.name}")
        if self.running and _catches(self.pid, signal.SIGQUIT):
            written = self.log.stat().st_size
            self.send(signal.SIGQUIT)
            with suppress(TimeoutError):
                until(lambda: self.log.stat().st_size > written, 2, "the stacks in the log")
        return self.kill()

    def kill(self) -> int:
        """Kill the whole group, as `kill -9` does; return the program's exit status."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def kill_session(self) -> int:
        """Kill every process of the program's session, in all of its groups; return the exit status."""
        if self._popen.returncode is None:
            # The leader is not reaped yet, so the session id cannot belong to another session.
            for pid in _session(self.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal; see proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _session(number: int) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        with suppress(ValueError, ProcessLookupError):
            if os.getsid(int(entry.name)) == number:
                pids.append(int(entry.name))
    return pids


def tail(path: Path, lines: int = 20) -> str:
    """Return the last lines of a text file, for an error message."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return f"({path} does not exist)"
    return "\n".join(text.splitlines()[-lines:])
