"""Durable folders and file names, for the spool and the clock."""

import os
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, durably; nothing to do if it exists.

    Raises:
        OSError: it cannot be made, or is not a folder.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Write the names in `folder` to disk: created, renamed and removed ones; may raise OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
