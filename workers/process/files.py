"""A file that is there whole or not at all: made once, or put in the place of another."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from producers.disk import sync_folder


def make_once(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put a new file there, durably; who makes it at the same time finds it or is found.

    Raises:
        OSError: it cannot be made.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    sync_folder(path.parent)


def put(path: Path, content: bytes, owner: tuple[int, int] | None = None) -> None:
    """Put it in the file's place, durably and for its owner alone; who reads sees the old or the new.

    Args:
        path: the file; mode 0600 afterwards.
        content: the new one.
        owner: user and group that are to have it; None for the process's own.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(descriptor, *owner)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).rename(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)
