"""One scontrol that answers many queries: for those who ask several times a second.

scontrol without a command reads commands from its input. A query then costs 0.5 ms of CPU instead of
20 ms, and slurmctld sends the nodes only if one of them has changed since the last answer.
"""

import os
import secrets
import string
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from workers.slurm.commands import SlurmAwayError, SlurmCommands

_READ_BYTES = 1 << 20
_MARK_BYTES = 8
# 65,536 nodes, 2 kB each
_MOST_BYTES = 1 << 28
# After a step of the clock backwards, slurmctld takes each change for an old one ("no change since ..."),
# for as long as the step: then another scontrol is started, to which it sends all. The clock is ours, as
# slurmctld runs on this host. In seconds: a smaller step is not seen; the longest use of one scontrol.
_STEP, _LASTS = 0.1, 600.0
# a hostlist without digits is one name
_LETTERS = str.maketrans(string.digits, string.ascii_lowercase[-10:])


class ScontrolSession:
    """Starts scontrol at the first query, and again after `close`; one query at a time.

    Args:
        commands: start scontrol.
        clock: the time in seconds.
    """

    def __init__(self, commands: SlurmCommands, clock: Callable[[], float] = time.time) -> None:
        self._commands = commands
        self._clock = clock
        self._since = self._offset = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._mark, self._found = b"", bytearray()

    @property
    def fds(self) -> list[int]:
        """What becomes readable when a part of an answer is there."""
        return [] if self._process is None else [_pipes(self._process)[1]]

    def ask(self, query: str) -> None:
        """Send a query: lines such as `show node`, each below 4 kB. If that fails, no answer comes."""
        now = time.monotonic()
        offset = self._clock() - now
        if now >= self._since + _LASTS or offset < self._offset - _STEP:
            self.close()
        self._offset = offset
        with suppress(OSError, SlurmAwayError):
            if self._process is None:
                self._since = now
                self._process = self._commands.converse("scontrol", "--all", "--oneliner")
                os.set_blocking(_pipes(self._process)[1], False)
            # printed alone on a line only after the answer; nobody can know it before
            mark = secrets.token_hex(_MARK_BYTES).translate(_LETTERS)
            self._mark, self._found = mark.encode(), bytearray()
            line = f"{query}\nshow hostnames {mark}\n".encode()
            os.write(_pipes(self._process)[0], line)

    def answer(self) -> str | None:
        """The output of the query, with errors; None while it is not whole."""
        if self._process is None:
            return None
        end = b"\n%s\n" % self._mark
        with suppress(BlockingIOError):
            while read := os.read(_pipes(self._process)[1], _READ_BYTES):
                self._found += read
                if len(self._found) > _MOST_BYTES:
                    break
                if end in self._found[-4096:]:
                    # scontrol prints its input, too
                    return self._found.partition(self._mark)[0].decode(errors="replace")
            self.close()  # it has ended, or prints without end
        return None

    def close(self) -> None:
        """End scontrol."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Our ends of its input and output."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("scontrol was started without pipes")
    return process.stdin.fileno(), process.stdout.fileno()
