"""Writes files durably: readers see the whole new content or none of it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path

from producers.disk import sync_folder


def create_file(
    path: Path, content: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None
) -> None:
    """Create a file; an existing one stays as it is, also if another process creates it now.

    Its user and group are `owner`, or those of the process.

    Raises:
        OSError: it cannot be made.
    """
    with _beside(path, content, mode, owner) as name, suppress(FileExistsError):
        os.link(name, path)


def replace_file(path: Path, content: bytes, owner: tuple[int, int] | None = None) -> None:
    """Replace a file, mode 0600 afterwards; its user and group are `owner`, or those of the process.

    Raises:
        OSError: it cannot be written; the old file is unchanged.
    """
    with _beside(path, content, 0o600, owner) as name:
        name.rename(path)


def append_whole(descriptor: int, content: bytes) -> None:
    """Append to an open file and sync it: all of it, or nothing if the disk is full.

    Raises:
        OSError: it cannot be written.
    """
    size = os.fstat(descriptor).st_size
    if os.write(descriptor, content) < len(content):
        os.ftruncate(descriptor, size)
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    os.fsync(descriptor)


@contextmanager
def _beside(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None) -> Iterator[Path]:
    """A temporary file in the same folder with this content; makes its new name durable."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
    sync_folder(path.parent)
