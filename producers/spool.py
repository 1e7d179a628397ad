"""The spool: calls on this host's disk until the broker has confirmed all their messages.

A file is locked (flock) by the process that sends it, and by nobody once that process has ended,
however it ended. So hooks and the relay never send one call twice at the same time, and what a
killed hook leaves is free at once.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from errno import EACCES
from pathlib import Path

from producers.call import HookCall, call_from
from producers.disk import make_folder, sync_folder
from schemas.errors import MalformedMessageError

SUFFIX = ".call"
TORN = ".partial"
UNREADABLE = ".unreadable"
# No hook takes so long to write one file: whoever wrote it was killed before it promised anything.
_TORN_AGE = 3600.0


class SpoolError(Exception):
    """The spool cannot be used; the text says what to mend."""


class Spooled:
    """A call on disk that this process alone sends, until it lets go of it."""

    def __init__(self, path: Path, call: HookCall, descriptor: int) -> None:
        self.path = path
        self.call = call
        self._descriptor = descriptor

    def done(self) -> None:
        """Forget the call: the broker has it whole.

        Raises:
            SpoolError: it cannot be removed, and will be sent again.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _trouble(self.path.parent, error) from None
        finally:
            self.release()

    def keep(self, nodes: Sequence[str]) -> None:
        """Keep what is left of the call: the broker has all but these nodes.

        Else a queue with a little room would take the same first nodes again and again.

        Raises:
            SpoolError: the call stays as it was.
        """
        try:
            _write(self.path, replace(self.call, nodes=",".join(nodes))).release()
        finally:
            self.release()

    def release(self) -> None:
        """Let others send it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def put(folder: Path, call: HookCall) -> Spooled:
    """Make a call durable: write, fsync, rename, fsync the folder.

    Raises:
        SpoolError: the disk is full, or the folder cannot be written.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise _trouble(folder, error) from None
    # The generation leads, so that names sort in the order of asking.
    return _write(folder / f"{call.generation:020d}-{call.correlation_id}{SUFFIX}", call)


def waiting(folder: Path) -> list[Path]:
    """The spooled calls, oldest generation first.

    Raises:
        SpoolError: the folder cannot be read.
    """
    try:
        # a Path for each of perhaps 100,000 would be slow
        names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]  # noqa: PTH208
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _trouble(folder, error) from None
    return [folder / name for name in sorted(names)]


def claim(paths: Iterable[Path], report: Callable[[str], object]) -> Iterator[Spooled]:
    """The calls in `paths`, locked; skips what others send or have sent.

    A file that no hook wrote is set aside as `.unreadable`, never lost.

    Args:
        paths: of spooled calls.
        report: is told of each file that cannot be read.
    """
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # another process has just sent it
            continue
        except OSError as error:
            remedy = "run the relay as SlurmUser" if error.errno == EACCES else "mend the spool"
            report(f"{path}: cannot be read: {error.strerror}; {remedy}")
            continue
        spooled = None
        try:
            spooled = _lock_and_read(path, descriptor)
        except MalformedMessageError as error:
            report(f"{path}: {error}; {_set_aside(path)}")
        except OSError as error:
            report(f"{path}: cannot be read: {error.strerror}; mend the disk")
        if spooled is None:
            os.close(descriptor)
        else:
            yield spooled


def remove_torn(folder: Path) -> list[str]:
    """Remove files that were never finished, hence never promised; returns their names."""
    removed = []
    for path in folder.glob(f"*{TORN}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _TORN_AGE:
                path.unlink()
                removed.append(path.name)
    return removed


def _write(final: Path, call: HookCall) -> Spooled:
    partial = final.with_suffix(TORN)
    descriptor = -1
    try:
        # Nobody else writes this name: it is random, and rewritten only under the call's lock.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        raise _trouble(final.parent, error) from None
    return Spooled(final, call, descriptor)


def _lock_and_read(path: Path, descriptor: int) -> Spooled | None:
    """The call behind `descriptor`, or None where another process sends it or has sent it.

    Raises:
        MalformedMessageError: no hook wrote it.
        OSError: the disk failed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between our opening and our locking it may have been removed, or replaced by its rest.
        if path.stat().st_ino != os.fstat(descriptor).st_ino:
            return None
    except (BlockingIOError, FileNotFoundError):
        return None
    with open(descriptor, "rb", closefd=False) as file:
        return Spooled(path, call_from(file.read()), descriptor)


def _set_aside(path: Path) -> str:
    aside = path.with_suffix(UNREADABLE)
    try:
        path.rename(aside)
    except OSError as error:
        return f"cannot be set aside: {error.strerror}"
    return f"set aside as {aside.name}; read it, and call the hook again if it holds a request"


def _trouble(folder: Path, error: OSError) -> SpoolError:
    return SpoolError(
        f"hooks.spool: {error.strerror}: {folder}; free the disk or mend its permissions"
    )
