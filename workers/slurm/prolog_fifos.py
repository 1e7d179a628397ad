"""The FIFOs between lamplighter-prolog and the slurm worker; all are in one folder of SlurmUser's.

`alive` has a writer while the worker runs. A script writes one line to `door`: the name of a FIFO
that it has made and reads, and its job's nodes. Into that FIFO go lines with the number of seconds
within which the next line comes; the script ends when none comes, or when the worker closes it.
"""

import fcntl
import os
import re
import select
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from producers.settings import ConfigError
from producers.trust import UntrustedFileError, require_trusted

_LINE = re.compile(rb"(wait\.(0|[1-9][0-9]{0,9})\.[1-9][0-9]{0,9}) ([\x21-\x7e]+)")
# What scripts may leave at the door before it is full: 250 of the longest lines, if the kernel allows it.
_DOOR_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Arrival:
    """A script that has come: its FIFO's file descriptor, its job (0: all go), and its nodes."""

    fd: int
    job_id: int
    hostlist: str


class PrologFifos:
    """The worker's end of the FIFOs; use as a context manager: at its end all scripts go on.

    The folder is made if it is missing.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partial = b""
        self._fds: set[int] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_trusted(folder)
            with ExitStack() as failed:
                self._door = _held(folder / "door")
                failed.callback(os.close, self._door)
                fcntl.flock(self._door, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(OSError):
                    fcntl.fcntl(self._door, fcntl.F_SETPIPE_SZ, _DOOR_BYTES)
                for left in folder.glob("wait.*"):
                    left.unlink(missing_ok=True)
                self._alive = _held(folder / "alive")
                held = (("door", self._door), ("alive", self._alive))
                self._places = [(f"{folder}/{name}", os.fstat(fd)) for name, fd in held]
                failed.pop_all()
        except BlockingIOError:
            raise ConfigError("slurm.prolog: another slurm worker serves this folder") from None
        except (OSError, UntrustedFileError) as error:
            raise ConfigError(
                f"slurm.prolog: {error}; make {folder} a folder of SlurmUser's, mode 0700, "
                "and run this worker as SlurmUser"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (*self._fds, self._alive, self._door):
            os.close(fd)

    def require_place(self) -> None:
        """Check that scripts still find these FIFOs; raises ConfigError if not, as when /run was cleaned."""
        for path, held in self._places:
            with suppress(OSError):
                if os.path.samestat(os.lstat(path), held):
                    continue
            raise ConfigError(f"slurm.prolog: {path} was removed or replaced")

    def wait(self, timeout: float | None, others: Iterable[int] = ()) -> None:
        """Wait until a script comes, one of the others is readable, or for `timeout` seconds."""
        poll = select.poll()
        for fd in (self._door, *others):
            poll.register(fd, select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)

    def arrivals(self) -> Iterator[Arrival]:
        """The scripts that have come; lines that cannot be read are ignored: such a script goes on."""
        with suppress(BlockingIOError):
            while read := os.read(self._door, _DOOR_BYTES):
                *lines, self._partial = (self._partial + read).split(b"\n")
                self._partial = self._partial[-_DOOR_BYTES:]
                for line in lines:
                    if found := _LINE.fullmatch(line):
                        name, job, nodes = (part.decode("ascii") for part in found.groups())
                        if (fd := self._open(name)) is not None:
                            yield Arrival(fd, int(job), nodes)

    def _open(self, name: str) -> int | None:
        """The FIFO of a script, which is then removed; None if the script has ended."""
        path = self._folder / name
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            path.unlink(missing_ok=True)
            return None
        path.unlink(missing_ok=True)
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        self._fds.add(fd)
        return fd

    def keep(self, fd: int, seconds: int) -> None:
        """Let a script wait for the next line, which comes within `seconds` (1 to 99)."""
        # if it has ended, or does not read, `ended` shows it, or its limit ends it
        with suppress(OSError):
            os.write(fd, b"%d\n" % seconds)

    def let_go(self, fd: int) -> None:
        """End a script's wait."""
        with suppress(OSError):
            os.write(fd, b"0\n")
        os.close(fd)
        self._fds.discard(fd)

    def ended(self, fds: Collection[int]) -> set[int]:
        """Those of these scripts that have ended (poll(2): POLLERR)."""
        poll = select.poll()
        for fd in fds:
            poll.register(fd, 0)
        return {fd for fd, _event in poll.poll(0)}


def _held(path: Path) -> int:
    """A FIFO, opened for reading and writing: so it has a reader and a writer, and never blocks."""
    with suppress(FileNotFoundError):
        if not stat.S_ISFIFO(path.lstat().st_mode):
            path.unlink()
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
