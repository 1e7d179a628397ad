"""What a user may do with files and folders, seen by another user: root may look everywhere."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from producers.disk import open_file

READ, WRITE, ENTER = 4, 2, 1
EXECUTE = ENTER


@dataclass(frozen=True, slots=True)
class User:
    """A user and all groups of it."""

    name: str
    uid: int
    gids: frozenset[int]

    @classmethod
    def named(cls, name: str) -> "User | None":
        """The user of this name; None if this host does not know it."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        # a directory may list no groups, and tell those of a user all the same
        return cls(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)))

    def may(self, wanted: int, status: os.stat_result) -> bool:
        """Whether it has these permissions, all of them, on what `status` describes.

        `wanted` is a sum of READ, WRITE, and ENTER or EXECUTE.
        """
        mode = status.st_mode
        if self.uid == 0:  # it may all, but run a file that nobody may run
            return not wanted & EXECUTE or stat.S_ISDIR(mode) or bool(mode & 0o111)
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.gids else 0
        return mode >> shift & wanted == wanted

    def closed_folder(self, path: Path) -> Path | None:
        """The first folder above a path that it may not enter; None if there is none.

        One that this process cannot look at is not known to be closed.
        """
        # from the root down; of a link too, then those of what it leads to
        real = Path(os.path.realpath(path))
        for folder in (*reversed(path.absolute().parents), *reversed(real.parents)):
            status = status_of(folder)
            if status is not None and not self.may(ENTER, status):
                return folder
        return None


def status_of(path: Path | None) -> os.stat_result | None:
    """What is there; None if nothing is, or this process may not look."""
    try:
        return None if path is None else path.stat()
    except (OSError, ValueError):
        return None


def start_of(path: Path) -> bytes:
    """The first bytes of a file; none if this user may not read it."""
    try:
        with open_file(path, "rb") as file:
            return file.read(256)
    except OSError:
        return b""
