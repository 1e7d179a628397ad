"""Durable folders and file names, and what to do about a file that cannot be used."""

import errno
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO


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
        owner, made = folder.stat(), os.fstat(descriptor)
        wanted = owner.st_uid, owner.st_gid
        # where SlurmUser is root, the filter of its units forbids the call
        if (made.st_uid, made.st_gid) != wanted:
            os.fchown(descriptor, *wanted)


def unusable(field: str, path: Path, error: OSError) -> str:
    """Why a setting's file or folder cannot be used: the field, the path and the remedy."""
    if isinstance(error, UnusualFileError):
        return f"{field}: {path} {error.strerror}"
    match error.errno:
        case errno.EEXIST | errno.ENOTDIR:
            remedy = "a file is in the way: remove it, or choose another folder"
        case errno.ELOOP:
            remedy = f"a symbolic link is in the way: remove {error.filename or path}"
        case errno.EAGAIN:
            remedy = "find the lock's holder: no process keeps it for long"
        case errno.ENOENT:
            remedy = f"create the folder {_missing(path)}, owned by user {user_name()}"
        case errno.EACCES | errno.EPERM:
            remedy = f"let user {user_name()} use it (chown, chmod), or run this as its owner"
        case errno.EISDIR:
            remedy = "name a file in it"
        case errno.ENOSPC | errno.EDQUOT:
            remedy = "free disk space"
        case errno.EROFS:
            remedy = "mount it writable, or choose another folder"
        case _:
            remedy = "check the disk"
    return f"{field}: {error.strerror or error}: {path}; {remedy}"


# No configuration, note or memory of ours is larger.
MOST_BYTES = 2**26


class UnusualFileError(OSError):
    """A file cannot be read whole: it is not a file, or it is too large; `strerror` says what to do."""

    def __init__(self, problem: str) -> None:
        super().__init__(errno.EINVAL, problem)


def read_file(
    path: Path, most: int = MOST_BYTES, check: Callable[[int], None] = lambda _: None
) -> bytes:
    """The content of a file of at most `most` bytes; a pipe or a device never blocks the reader.

    `most` is in bytes; `check` is called with the open file's descriptor, and may raise.

    Raises:
        OSError: it cannot be read.
        UnusualFileError: it is not a regular file, or it is larger.
    """
    with open_file(path, "rb") as file:
        return read_open(file.fileno(), most, check)


def open_file(path: Path, mode: str) -> IO[bytes]:
    """Open a file; where another process would have to open a FIFO first, this fails: fifo(7).

    Raises:
        OSError: it cannot be opened.
    """
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK, 0o666))


def read_open(descriptor: int, most: int, check: Callable[[int], None] = lambda _: None) -> bytes:
    """The rest of an open file; arguments and errors as in `read_file`."""
    require_usual(os.fstat(descriptor).st_mode)
    check(descriptor)
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UnusualFileError(
            f"is larger than {most} bytes; split it, or remove what is not needed"
        )
    return content


def require_usual(mode: int) -> None:
    """Check the mode of what a setting names: a pipe or a device would block its reader, or never end.

    A folder passes: whoever opens it as a file says why not.

    Raises:
        UnusualFileError: it is neither a file nor a folder.
    """
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UnusualFileError("is not a file; name a file")


def require_writable(file: Path) -> None:
    """Check that this user can create or change a file.

    Raises:
        OSError: its folder does not exist, the user may not, or a folder or a device is there.
    """
    folder_or_file = file if file.exists() else file.parent
    require_usual(folder_or_file.stat().st_mode)
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    for path, mode in ((folder_or_file, os.W_OK), (file.parent, os.W_OK | os.X_OK)):
        if not os.access(path, mode, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def user_name(uid: int | None = None) -> str:
    """The name of a user, by default of this process's."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def may_exist(path: Path) -> bool:
    """Whether something is there, or may be: in a folder that this user may not enter.

    Path.exists raises PermissionError there, and to say no would make a secret place an empty one.
    """
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _missing(path: Path) -> Path:
    """The folder that has to be created for `path`, which is one or is a file in one."""
    folder = path.parent
    return path if folder.is_dir() else folder
