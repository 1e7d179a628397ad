"""One scontrol that answers many queries: for those who ask several times a second.

scontrol without a command reads commands from its input. A query then costs 0.5 ms of CPU instead of
20 ms, and slurmctld sends the nodes only if one of them has changed since the last answer.
"""

import os
import secrets
import select
import string
import subprocess
import time

from workers.slurm.commands import SlurmAwayError, SlurmCommands

_READ_BYTES = 1 << 20
_MARK_LENGTH = 16


class ScontrolSession:
    """Starts scontrol at the first query, and again after `close`.

    Args:
        commands: start scontrol.
        timeout: seconds within which it must answer.
    """

    def __init__(self, commands: SlurmCommands, timeout: float) -> None:
        self._commands = commands
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._is_usable = True

    def ask(self, query: str) -> str:
        """The output of a query, with errors; empty if this scontrol does not answer.

        Args:
            query: one line, such as `show node`; below 4 kB.
        """
        if not self._is_usable:
            return ""
        process = self._process
        try:
            if process is None:
                process = self._commands.converse("scontrol", "--all", "--oneliner")
                self._process = process
                # one that buffers its output never answers: built without readline
                self._is_usable = self._exchange(process, "") is not None
            answer = self._exchange(process, query) if self._is_usable else None
        except (OSError, SlurmAwayError):
            answer = None
        if answer is None:
            self.close()
        return answer or ""

    def close(self) -> None:
        """End scontrol."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _exchange(self, process: subprocess.Popen[bytes], query: str) -> str | None:
        """Send a query, and read until the end of its answer; None if that does not come in time."""
        if process.stdin is None or process.stdout is None:
            return None
        # printed alone on a line only after the answer; nobody can know it before
        mark = "".join(secrets.choice(string.ascii_lowercase) for _ in range(_MARK_LENGTH))
        os.write(process.stdin.fileno(), f"{query}\nshow hostnames {mark}\n".encode())
        end, found = f"\n{mark}\n".encode(), b""
        deadline = time.monotonic() + self._timeout
        while end not in found[-4096:]:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([process.stdout], [], [], left)[0]:
                return None
            if not (read := os.read(process.stdout.fileno(), _READ_BYTES)):
                return None
            found += read
        return found.partition(mark.encode())[0].decode(
            errors="replace"
        )  # scontrol prints its input
