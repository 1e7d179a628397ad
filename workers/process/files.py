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

    Its user and group are `owner`, else those of `heir`, else of the process.

    Raises:
        OSError: it cannot be made.
    """
    with _beside(path, content, mode, owner or heir(path)) as name, suppress(FileExistsError):
        os.link(name, path)


def heir(path: Path) -> tuple[int, int] | None:
    """User and group to whom root gives a new file: the folder's, so that a service can use what a command has made."""
    if os.geteuid() != 0:
        return None
    folder = path.parent.stat()
    return folder.st_uid, folder.st_gid


def replace_file(
    path: Path, content: bytes, owner: tuple[int, int] | None = None, mode: int = 0o600
) -> None:
    """Replace a file; its user and group are `owner`, or those of the process.

    Raises:
        OSError: it cannot be written; the old file is unchanged.
    """
    with _beside(path, content, mode, owner) as name:
        name.rename(path)


def append_line(path: Path, descriptor: int, line: str) -> None:
    """Append a line to a file that is open for appending, and sync it: all of it, or nothing.

    If its last line has no end (by an editor, or by a writer that was killed), the new line begins
    below it. `path` is where it is.

    Raises:
        OSError: it cannot be written.
    """
    size = os.fstat(descriptor).st_size  # 0 for what is not a file
    data = f"{line}\n".encode()
    if size:
        # one that this user may write and not read is taken for whole
        with suppress(PermissionError), path.open("rb") as file:
            file.seek(size - 1)
            data = data if file.read(1) == b"\n" else b"\n" + data
    if os.write(descriptor, data) < len(data):
        os.ftruncate(descriptor, size)
        raise OSError(ENOSPC, os.strerror(ENOSPC), str(path))
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
