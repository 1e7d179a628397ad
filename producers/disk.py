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


def give_to_folder_owner(descriptor: int, folder: Path) -> None:
    """A file that root makes in `folder` belongs to the folder's owner: SlurmUser must use it too.

    Raises:
        OSError: the disk failed.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
