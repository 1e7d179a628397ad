"""The generation clock: a hybrid logical clock that all hook calls of a cluster share.

Each generation is above every earlier one, and never below the time: max(last + 1, now), under
flock in a folder that both controllers of a pair see.
"""

import fcntl
import os
import time
from pathlib import Path

from producers.disk import make_folder, sync_folder

FILE_NAME = "generation"
# Another call holds the lock for one small write. A file server that hangs must not stop us.
LOCK_SECONDS = 1.0

_DIGITS = 20
_MOST = 2**63 - 1  # what a message may carry


class ClockError(Exception):
    """The clock's folder cannot be used; the text says what to mend."""


def stamp(folder: Path) -> int:
    """A new generation: nanoseconds since the epoch, above all stamped before in `folder`.

    Raises:
        ClockError: the folder cannot be used, or another process holds its lock for too long.
    """
    try:
        make_folder(folder)
        descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ClockError(
            f"hooks.state: {error.strerror}: {folder}; make it writable for SlurmUser"
        ) from None
    try:
        _lock(descriptor)
        content = os.pread(descriptor, _DIGITS, 0)
        generation = max(_last(content) + 1, time.time_ns())
        os.pwrite(descriptor, f"{generation:0{_DIGITS}d}".encode(), 0)
        os.fdatasync(descriptor)
        if not content:
            _leave_to_the_hooks(descriptor, folder)
            sync_folder(folder)
    except OSError as error:
        raise ClockError(
            f"hooks.state: {error.strerror}: {folder}; free the disk or see who holds the lock"
        ) from None
    finally:
        os.close(descriptor)
    return generation


def _leave_to_the_hooks(descriptor: int, folder: Path) -> None:
    """What root makes here belongs to whom the folder belongs to: SlurmUser must write it too."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


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


def _last(content: bytes) -> int:
    """What was stamped last; 0 when the file is new or was torn: then the time decides alone."""
    if len(content) != _DIGITS or not content.isdigit():
        return 0
    last = int(content)
    return last if last < _MOST else 0
