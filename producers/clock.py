"""The generation clock: a hybrid logical clock that all hook calls of a cluster share.

Each generation is above all earlier ones and not below the current time: max(last + 1, now), under
flock, in a folder that both controllers of a pair share. Never lower it by hand: the store orders
requests by generation, so that every later request would seem older. `lamplighter clock reset` lowers
both.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from producers.disk import give_to_folder_owner, make_folder, read_file, sync_folder, unusable
from schemas.numbers import MOST

FILE_NAME = "generation"
# A call holds the lock for one small write. A file server that hangs must not block us.
LOCK_SECONDS = 1.0

_DIGITS = 20


class ClockError(Exception):
    """The clock's folder cannot be used; the text names the remedy."""


@dataclass(frozen=True, slots=True)
class LockedClock:
    """The clock while this process holds its lock: nobody else can stamp a generation.

    Attributes:
        last: the highest generation so far; 0 if there is none.
    """

    folder: Path
    last: int
    _descriptor: int
    _is_new: bool

    def write(self, generation: int) -> None:
        """Make `generation` the last one, durably.

        The file is written in place: a new file would not have the lock that others wait for.

        Raises:
            ClockError: the disk is full or fails.
        """
        try:
            os.pwrite(self._descriptor, f"{generation:0{_DIGITS}d}".encode(), 0)
            os.fdatasync(self._descriptor)
            if self._is_new:
                give_to_folder_owner(self._descriptor, self.folder)
                sync_folder(self.folder)
        except OSError as error:
            raise ClockError(unusable("hooks.state", self.folder, error)) from None


def stamp(folder: Path) -> int:
    """A new generation: nanoseconds since the epoch, above all earlier ones of `folder`.

    Raises:
        ClockError: the folder cannot be used, or another process holds its lock for too long.
    """
    with locked(folder) as clock:
        generation = max(clock.last + 1, time.time_ns())
        clock.write(generation)
    return generation


def process_age() -> float:
    """Seconds since this process began; 0 if the kernel does not say.

    slurmctld's patience runs from then on, but a busy host can take seconds to start a program. Field
    22 of the file is in ticks since the boot (proc(5)); the second field can hold spaces.
    """
    try:
        stat = Path("/proc/self/stat").read_text()
        began = int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - began, 0.0)


def last_generation(folder: Path) -> int:
    """The highest generation so far, 0 if there is none; ClockError if the file cannot be read."""
    try:
        return _previous(read_file(folder / FILE_NAME)[:_DIGITS])
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise ClockError(unusable("hooks.state", folder, error)) from None


@contextmanager
def locked(folder: Path) -> Iterator[LockedClock]:
    """Hold the clock's lock; keep it for less than LOCK_SECONDS, because hooks wait no longer.

    Raises:
        ClockError: the folder cannot be used, or another process holds its lock for too long.
    """
    try:
        make_folder(folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(folder / FILE_NAME, flags, 0o644)
    except OSError as error:
        raise ClockError(unusable("hooks.state", folder, error)) from None
    try:
        try:
            _lock(descriptor)
            content = os.pread(descriptor, _DIGITS, 0)
        except OSError as error:
            raise ClockError(unusable("hooks.state", folder, error)) from None
        yield LockedClock(folder, _previous(content), descriptor, not content)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.001)
        else:
            return


def _previous(content: bytes) -> int:
    """The previous generation; 0 if the file is new or half written: then only the time counts."""
    if len(content) != _DIGITS or not content.isdigit():
        return 0
    last = int(content)
    return last if last < MOST else 0
