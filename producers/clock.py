"""The generation clock: a hybrid logical clock that all hook calls of a cluster share.

Each generation is above every earlier one, and never below the time: max(last + 1, now), under
flock in a folder that both controllers of a pair see.
"""

import fcntl
import os
import time
from pathlib import Path

_DIGITS = 20


class ClockError(Exception):
    """The clock's folder cannot be used; the text says what to mend."""


def stamp(folder: Path) -> int:
    """A new generation: nanoseconds since the epoch, above all stamped before in `folder`.

    Raises:
        ClockError: the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "generation", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ClockError(
            f"hooks.state: {error.strerror}: {folder}; make it writable for SlurmUser"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        generation = max(_last(os.pread(descriptor, _DIGITS, 0)) + 1, time.time_ns())
        os.pwrite(descriptor, f"{generation:0{_DIGITS}d}".encode(), 0)
        os.fdatasync(descriptor)
    except OSError as error:
        raise ClockError(f"hooks.state: {error.strerror}: {folder}; free the disk") from None
    finally:
        os.close(descriptor)
    return generation


def _last(content: bytes) -> int:
    """What was stamped last; 0 when the file is new or was torn: then the time decides alone."""
    return int(content) if len(content) == _DIGITS and content.isdigit() else 0
