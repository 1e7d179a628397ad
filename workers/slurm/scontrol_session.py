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
# What scontrol says before the nodes, after the command `verbose`, if slurmctld has sent none; and a
# query that finds only this out: to print 40 nodes takes more than half as much CPU as all the rest.
_SAME, _PROBE = "slurm_load_node no change in data", "show node -"
# a hostlist without digits is one name
_LETTERS = str.maketrans(string.digits, string.ascii_lowercase[-10:])


class ScontrolSession:
    """Starts scontrol at the first query, and again after `close`; one query at a time."""

    def __init__(self, commands: SlurmCommands, clock: Callable[[], float] = time.time) -> None:
        self._commands = commands
        self._clock = clock
        self._since = self._offset = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._mark, self._found = b"", bytearray()
        # the last query about nodes, its answer, whether they had not changed then; whether only this is asked
        self._query = self._text = ""
        self._same = self._probes = False

    @property
    def fds(self) -> list[int]:
        """What becomes readable when a part of an answer is there."""
        return [] if self._process is None else [_pipes(self._process)[1]]

    def ask(self, query: str) -> None:
        """Send a query: lines such as `show node`, each below 4 kB. If that fails, no answer comes.

        What is asked again while no node has changed is answered with what was printed before.
        """
        now = time.monotonic()
        offset = self._clock() - now
        if now >= self._since + _LASTS or offset < self._offset - _STEP:
            self.close()
        self._offset = offset
        self._probes = self._same and query == self._query
        self._query = query if query.startswith("show node") else ""
        with suppress(OSError, SlurmAwayError):
            if self._process is None:
                self._since = now
                self._process = self._commands.converse("scontrol", "--all", "--oneliner")
                os.set_blocking(_pipes(self._process)[1], False)
                os.write(_pipes(self._process)[0], b"verbose\n")
            self._send(self._process, _PROBE if self._probes else query)

    def _send(self, process: subprocess.Popen[bytes], query: str) -> None:
        # printed alone on a line only after the answer; nobody can know it before
        mark = secrets.token_hex(_MARK_BYTES).translate(_LETTERS)
        self._mark, self._found = mark.encode(), bytearray()
        os.write(_pipes(process)[0], f"{query}\nshow hostnames {mark}\n".encode())

    def answer(self) -> str | None:
        """The output of the query, with errors; None while it is not whole."""
        if self._process is None:
            return None
        end = b"\n%s\n" % self._mark
        with suppress(BlockingIOError, BrokenPipeError):
            while read := os.read(_pipes(self._process)[1], _READ_BYTES):
                self._found += read
                if len(self._found) > _MOST_BYTES:
                    break
                if end in self._found[-4096:]:
                    # scontrol prints its input, too
                    text = self._found.partition(self._mark)[0].decode(errors="replace")
                    return self._take(self._process, text)
            self.close()  # it has ended, or prints without end
        return None

    def _take(self, process: subprocess.Popen[bytes], text: str) -> str | None:
        """What answers the query; None if it is asked in full now, because a node has changed."""
        if not self._query:
            return text
        self._same = _SAME in text.partition("NodeName=")[0]
        if self._probes and not self._same:
            self._probes = False
            self._send(process, self._query)
            return None
        self._text = self._text if self._probes else text
        return self._text

    def close(self) -> None:
        """End scontrol."""
        process, self._process, self._same = self._process, None, False
        if process is not None:
            process.kill()
            process.communicate()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Our ends of its input and output."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("scontrol was started without pipes")
    return process.stdin.fileno(), process.stdout.fileno()
