"""A file that is made whole or not at all, and by one process alone."""

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
