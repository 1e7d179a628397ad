"""Which files a process trusts: those that only root and its own user can change, and read if secret.

A path may begin with $CREDENTIALS_DIRECTORY: systemd passes a service its secrets there
(systemd.exec(5), "Credentials").
"""

import os
import re
import stat
from collections.abc import Iterator
from errno import ENOENT
from pathlib import Path

from producers.disk import UnusualFileError, read_file, require_usual, user_name

VARIABLE = "CREDENTIALS_DIRECTORY"
# No secret and no configuration of ours is larger.
MOST_SECRET = 2**20
# As Linux follows (path_resolution(7)).
_MOST_LINKS = 40
CREDENTIALS = f"${VARIABLE}/"


class UntrustedFileError(Exception):
    """A file cannot be trusted: another user can change or read it.

    Attributes:
        problem: what follows its name: what is wrong, and the remedy.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.problem = problem


def read_trusted(path: Path, *, private: bool = False, most: int = MOST_SECRET) -> str:
    """The text of a file that only root and this user can change.

    `private`: whether only they and the file's group may read it, because it is a secret. `most` is
    in bytes.

    Raises:
        OSError, UntrustedFileError: as `read_guarded`.
        UnicodeDecodeError: it is not UTF-8 text.
    """
    return read_guarded(path, stat.S_IRWXO if private else 0, most).decode()


def read_guarded(path: Path, closed_to: int = 0, most: int = MOST_SECRET, owner: int = 0) -> bytes:
    """The content of a file that only root and this user can change, and perhaps the user `owner`.

    `closed_to` are further mode bits that must not be set; `most` is in bytes.

    Raises:
        OSError: it cannot be read.
        UntrustedFileError: other users can change it, or a bit of `closed_to` is set; or it is not a
            regular file, or larger.
    """

    def check(descriptor: int) -> None:
        if problem := distrust(descriptor, closed_to, owner) or _folder_problem(descriptor, path):
            raise UntrustedFileError(path, problem)

    try:
        return read_file(resolved(path), most, check)
    except UnusualFileError as error:
        raise UntrustedFileError(path, str(error.strerror)) from None


def require_trusted(path: Path) -> None:
    """Check a file or folder that a library reads: only root and this user can change it.

    One that cannot be opened passes: the library says why.

    Raises:
        UntrustedFileError: other users can change it, or it is a pipe or a device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        require_usual(os.fstat(descriptor).st_mode)
        problem = distrust(descriptor) or _folder_problem(descriptor, path)
    except UnusualFileError as error:
        problem = error.strerror
    finally:
        os.close(descriptor)
    if problem:
        raise UntrustedFileError(path, problem)


def distrust(descriptor: int, closed_to: int = 0, owner: int = 0) -> str | None:
    """Why an open file cannot be trusted, and the remedy; None if it can.

    Nobody can change what is mounted read-only. Root may read the secrets of others.

    `closed_to` are further mode bits that must not be set; `owner` is a user that may own the file,
    beside root and this one.
    """
    status, me = os.fstat(descriptor), os.geteuid()
    mode = stat.S_IMODE(status.st_mode)
    if mode & closed_to:
        bits = "".join(
            f"{who}-rwx," for who, bit in (("g", 0o070), ("o", 0o007)) if mode & bit & closed_to
        )
        return f"is open to other users (mode {mode:04o}): run chmod {bits[:-1]}"
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be changed by other users (mode {mode:04o}): run chmod go-w"
    if status.st_uid in {0, me, owner} or (me == 0 and closed_to):
        return None
    return f"belongs to user {user_name(status.st_uid)}: run chown {user_name()}"


def _folder_problem(descriptor: int, path: Path) -> str | None:
    """Why a trusted file may be another one tomorrow; None if only few can put one in its place."""
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return None
    return place_problem(resolved(path))


def place_problem(path: Path) -> str | None:
    """Why what has this path may be another thing tomorrow; None if only few can put one in its place.

    In an open folder, anybody can put a link in its place, to another file that root owns; and in one
    further up, a folder. In one with the sticky bit, as /tmp, only the owner of a thing can.
    """
    for folder in dict.fromkeys(_folders(path)):
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return (
                f"is in a folder that anybody can change (mode {stat.S_IMODE(mode):04o}): "
                f"run chmod o-w {folder}"
            )
    return None


def _folders(path: Path) -> Iterator[Path]:
    """The folders of a file up to the root, and those of each link on the way to it."""
    for _ in range(_MOST_LINKS):
        yield from path.absolute().parents
        yield from (Path(os.path.realpath(path.parent)) / path.name).parents
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


# A value in place of a file's name; words such as cloud-password are names.
_SECRET = re.compile(r"(?![a-z_-]*(?:passw(?:or)?d|secret|token|key|credential)s?$)[^/.\s]{8,}")


def may_be_secret(name: str) -> bool:
    """Whether what is written as the name of a secret's file may be the secret itself."""
    return _SECRET.fullmatch(name) is not None


def shown_file(path: Path) -> str:
    """A secret's file, for messages; where there is none, a name that may be a secret is masked."""
    hidden = not is_credential(path) and may_be_secret(path.name) and not os.path.lexists(path)
    return str(path.with_name("***") if hidden else path)


def is_credential(path: Path) -> bool:
    """Whether systemd passes this file to the service, and to nobody else."""
    return str(path).startswith(CREDENTIALS)


def closed_bits(path: Path) -> int:
    """The mode bits that a secret of one user must not have.

    systemd's ACL, by which the service's user reads a credential of root, shows as a group's right.
    """
    closed = stat.S_IRWXG | stat.S_IRWXO
    return closed & ~stat.S_IRGRP if is_credential(path) else closed


def is_there(path: Path, mode: int = os.F_OK) -> bool:
    """Whether this process finds a file, which may be a credential, and may use it so (os.access)."""
    try:
        return os.access(resolved(path), mode)
    except FileNotFoundError:
        return False


def beside(folder: Path, path: Path) -> Path:
    """The path from a folder; a credential stays as it is: only its service knows the folder."""
    return path if is_credential(path) else folder / path


def resolved(path: Path) -> Path:
    """The file; for a credential, the one that systemd has passed to this service.

    Raises:
        FileNotFoundError: systemd has passed none.
    """
    if not is_credential(path):
        return path
    folder = os.environ.get(VARIABLE)
    if folder is None:
        raise FileNotFoundError(ENOENT, "systemd has passed no credentials", str(path))
    return Path(folder) / str(path).removeprefix(CREDENTIALS)
