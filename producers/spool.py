"""The spool: calls and notices on this host's disk until the broker has confirmed all their messages.

The process that publishes a call locks its file (flock); the kernel releases the lock when the
process ends in any way. So hooks and the relay never publish one call at the same time, and the call
of a killed hook is available at once.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from errno import EACCES
from pathlib import Path
from typing import TypeAlias

from producers.call import HookCall, call_from
from producers.disk import (
    UnusualFileError,
    give_to_folder_owner,
    make_folder,
    read_open,
    sync_folder,
    unusable,
)
from producers.notices import SpooledNotices, notices_from
from producers.trust import distrust, place_problem
from schemas.errors import MalformedMessageError
from schemas.fields import shown
from schemas.numbers import whole_number

SUFFIX = ".call"
# A suffix of their own: a hook or relay of an older version leaves these files alone.
NOTICES = ".notices"
TORN = ".partial"
UNREADABLE = ".unreadable"
# Bytes: of about 100,000 jobs, as 24.11 describes them.
MOST_RESUME_FILE = 2**24
# JSON in JSON: a byte that is not UTF-8 becomes six; the hostlist is an argument (execve(2): 128 KiB).
_MOST_BYTES = 6 * MOST_RESUME_FILE + 2**21
# No hook takes this long to write a file: it was killed before it reported success.
_TORN_AGE = 3600.0
_NS = 1_000_000_000


SpoolContent: TypeAlias = HookCall | SpooledNotices


class SpoolError(Exception):
    """The spool cannot be used; the text names the remedy."""


class Spooled:
    """A call on disk, locked for this process until it is released."""

    def __init__(self, path: Path, call: SpoolContent, descriptor: int) -> None:
        self.path = path
        self.call = call
        self._descriptor = descriptor

    def done(self) -> None:
        """Remove the call: the broker has confirmed all its messages.

        Raises:
            SpoolError: it cannot be removed, and will be sent again.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _spool_error(self.path.parent, error) from None
        finally:
            self.release()

    def keep(self, parts: Sequence[str]) -> None:
        """Keep these parts of the call only (nodes, notices); the broker has confirmed the others.

        Otherwise a queue that is almost full would accept the same first nodes again and again.

        Raises:
            SpoolError: the call is unchanged on disk.
        """
        try:
            _write(self.path, self.call.only(parts)).release()
        finally:
            self.release()

    def release(self) -> None:
        """Unlock the call, so that other processes can publish it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def put(folder: Path, call: SpoolContent) -> Spooled:
    """Make a call durable: write, fsync, rename, fsync the folder.

    Raises:
        SpoolError: the disk is full, or the folder cannot be written.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise _spool_error(folder, error) from None
    # The generation comes first, so that file names sort by it.
    suffix = SUFFIX if isinstance(call, HookCall) else NOTICES
    return _write(folder / f"{call.generation:020d}-{call.correlation_id}{suffix}", call)


def waiting(folder: Path) -> list[Path]:
    """The spooled calls, oldest generation first; SpoolError if the folder cannot be read."""
    return _named(folder, SUFFIX, NOTICES)


def set_aside(folder: Path) -> list[Path]:
    """The files that no hook wrote, as `claim` left them; SpoolError if the folder cannot be read."""
    return _named(folder, UNREADABLE)


def age(path: Path) -> float:
    """Seconds since a call's generation, which begins its file's name, or since the file was written.

    The longer of both: a file is written again with what is left of a call, and a clock that was wrong
    gives generations from the future.
    """
    generation = whole_number(path.name.partition("-")[0].lstrip("0"))
    now = time.time()
    written = now
    with suppress(OSError):  # the call has just been sent
        written = path.stat().st_mtime
    return max(0.0, now - min(written, now if generation is None else generation / _NS))


def _named(folder: Path, *suffixes: str) -> list[Path]:
    try:
        # creating up to 100,000 Paths would be slow
        names = [name for name in os.listdir(folder) if name.endswith(suffixes)]  # noqa: PTH208
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _spool_error(folder, error) from None
    return [folder / name for name in sorted(names)]


def claim(
    paths: Iterable[Path], cluster: str, report: Callable[[str], object], *, of_hooks: bool = True
) -> Iterator[Spooled]:
    """The calls of `cluster` in `paths`, locked; skips those that another process publishes or has published.

    Those of hooks count from the owner of their folder, too. Another role's are in the hooks' folder, whose
    owner could put any folder there: they count from root and this user alone, and others' stay. So it is with
    those of hooks where anybody could put a folder.

    A file that no hook wrote is renamed to `.unreadable`, not deleted; `report` receives a
    text for each file that cannot be read, and for each call of another cluster: its broker is another.
    """
    for path in paths:
        try:
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags)
        except FileNotFoundError:  # another process has just published it
            continue
        except OSError as error:
            remedy = "run the relay as SlurmUser" if error.errno == EACCES else "check the spool"
            report(f"{path}: cannot be read: {error.strerror}; {remedy}")
            continue
        spooled = None
        try:
            its_own = of_hooks and place_problem(path.parent) is None
            owner = path.parent.stat().st_uid if its_own else 0
            if (problem := distrust(descriptor, owner=owner)) is None:
                spooled = _lock_and_read(path, descriptor)
                if spooled is not None and spooled.call.cluster not in {cluster, None}:
                    report(_foreign(path, spooled.call.cluster, cluster))
                    spooled = None
            else:
                fate = _set_aside(path) if its_own else "its owner's next command sends it"
                report(f"{path} {problem}, if it is a request of yours; {fate}")
        except MalformedMessageError as error:
            report(f"{path}: {error}; {_set_aside(path)}")
        except UnusualFileError as error:
            report(f"{path} {error.strerror}; {_set_aside(path)}")
        except OSError as error:
            report(f"{path}: cannot be read: {error.strerror}; check the disk")
        if spooled is None:
            os.close(descriptor)
        else:
            yield spooled


def remove_torn(folder: Path) -> list[str]:
    """Remove unfinished files, whose hooks never reported success; returns their names.

    Raises:
        SpoolError: the folder, or one of the files, cannot be used.
    """
    removed = []
    for path in _named(folder, TORN):
        try:
            if time.time() - path.stat().st_mtime > _TORN_AGE:
                path.unlink()
                removed.append(path.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _spool_error(folder, error) from None
    return removed


def _write(final: Path, call: SpoolContent) -> Spooled:
    partial = final.with_suffix(TORN)
    descriptor = -1
    try:
        # No other process writes this name: it is random, and rewritten only under the call's lock.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        give_to_folder_owner(descriptor, final.parent)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(call.to_json())
        os.fsync(descriptor)
        partial.rename(final)
        sync_folder(final.parent)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        with suppress(OSError):
            partial.unlink()
        raise _spool_error(final.parent, error) from None
    return Spooled(final, call, descriptor)


def _lock_and_read(path: Path, descriptor: int) -> Spooled | None:
    """The call in the open file, or None if another process publishes it or has published it.

    Raises:
        MalformedMessageError, UnusualFileError: the file was not written by a hook.
        OSError: the disk failed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before we locked it, the file may have been removed, or replaced with the unsent part.
        if path.stat().st_ino != os.fstat(descriptor).st_ino:
            return None
    except (BlockingIOError, FileNotFoundError):
        return None
    read = notices_from if path.suffix == NOTICES else call_from
    return Spooled(path, read(read_open(descriptor, _MOST_BYTES)), descriptor)


def _foreign(path: Path, other: str | None, cluster: str) -> str:
    return (
        f"{path} is a call of cluster {shown(other)}, not of {cluster}: let the lamplighter.toml of each"
        " cluster name a hooks.spool of its own; if the cluster was renamed, remove the file, and call"
        " the hook again"
    )


def _set_aside(path: Path) -> str:
    aside = path.with_suffix(UNREADABLE)
    try:
        path.rename(aside)
    except OSError as error:
        return f"cannot be set aside: {error.strerror}"
    return f"set aside as {aside.name}; read it, and call the hook again if it holds a request"


def _spool_error(folder: Path, error: OSError) -> SpoolError:
    return SpoolError(unusable("hooks.spool", folder, error))
