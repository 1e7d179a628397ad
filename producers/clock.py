"""The generation clock: a hybrid logical clock that all hook calls of a cluster share.

Each generation is above all earlier ones and not below the current time: max(last + 1, now), under
flock, in a folder that both controllers of a pair share.
"""

import fcntl
import os
import time
from pathlib import Path

from producers.disk import give_to_folder_owner, make_folder, sync_folder

FILE_NAME = "generation"
# A call holds the lock for one small write. A file server that hangs must not block us.
LOCK_SECONDS = 1.0

_DIGITS = 20
_MOST = 2**63 - 1  # the limit of a message


class ClockError(Exception):
    """The clock's folder cannot be used; the text names the remedy."""


def stamp(folder: Path) -> int:
    """A new generation: nanoseconds since the epoch, above all earlier ones of `folder`.

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
        generation = max(_previous(content) + 1, time.time_ns())
        os.pwrite(descriptor, f"{generation:0{_DIGITS}d}".encode(), 0)
        os.fdatasync(descriptor)
        if not content:
            give_to_folder_owner(descriptor, folder)
            sync_folder(folder)
    except OSError as error:
        raise ClockError(
            f"hooks.state: {error.strerror}: {folder}; free disk space, or find the lock's holder"
        ) from None
    finally:
        os.close(descriptor)
    return generation


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
    return last if last < _MOST else 0
