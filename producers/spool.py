"""The spool: calls on this host's disk until the broker has confirmed all their messages."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from producers.call import HookCall, call_from, expand
from schemas.errors import MalformedMessageError

_SUFFIX = ".call"


class SpoolError(Exception):
    """A call could not be made durable; the text says what to mend."""


def put(folder: Path, call: HookCall) -> Path:
    """Make a call durable: write, fsync, rename, fsync the folder.

    Raises:
        SpoolError: the disk is full, or the folder cannot be written.
    """
    # The generation leads, so that names sort in the order of asking.
    final = folder / f"{call.generation:020d}-{call.correlation_id}{_SUFFIX}"
    partial = final.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(call.to_json())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.rename(final)
        _sync(folder)
    except OSError as error:
        partial.unlink(missing_ok=True) if folder.is_dir() else None
        raise SpoolError(
            f"hooks.spool: {error.strerror}: {folder}; free the disk or mend its permissions"
        ) from None
    return final


def waiting(folder: Path, min_age: float = 0.0) -> list[Path]:
    """The spooled calls, oldest generation first.

    Args:
        folder: the spool.
        min_age: seconds a file must have rested, to leave a running hook its own.
    """
    if not folder.is_dir():
        return []
    newest = time.time() - min_age
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            if path.stat().st_mtime <= newest:
                found.append(path)
        except FileNotFoundError:  # another process has just sent it
            continue
    return sorted(found)


def read(paths: list[Path], tell: Callable[[str], object]) -> Iterator[tuple[Path, HookCall]]:
    """The calls in `paths`; one that cannot be read is set aside as `.unreadable`, never lost.

    Args:
        paths: from `waiting`.
        tell: hears of what was set aside.
    """
    for path in paths:
        try:
            call = call_from(path.read_bytes())
            expand(call.nodes)
        except FileNotFoundError:  # another process has just sent it
            continue
        except MalformedMessageError as error:
            aside = path.with_suffix(".unreadable")
            path.rename(aside)
            tell(f"{aside}: set aside: {error}")
            continue
        yield path, call


def done(path: Path | None) -> None:
    """Forget a call that the broker has whole; None where it never was on disk."""
    if path is not None:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
