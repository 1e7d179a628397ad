"""Secrets come from files that nobody else may read."""

import os
import stat
from pathlib import Path

from workers.tokens.errors import SourceError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secret(path: Path) -> str:
    """The file's text, without surrounding white space.

    Raises:
        SourceError: it cannot be read, is empty, or others may read or write it.
    """
    try:
        with path.open() as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise _unusable(path, f"cannot be read: {reason}") from None
    if mode & _OTHERS:
        raise _unusable(path, f"is open to others (mode {stat.S_IMODE(mode):04o})")
    if not text:
        raise _unusable(path, "is empty")
    return text


def fingerprint(path: Path) -> str:
    """Changes whenever the file may have changed; cheap."""
    try:
        status = path.stat()
    except OSError as error:
        return type(error).__name__
    return f"{status.st_ino}:{status.st_mtime_ns}:{status.st_size}:{status.st_mode:o}"


def _unusable(path: Path, problem: str) -> SourceError:
    return SourceError(
        "credential_unusable",
        f"{path} {problem}",
        permanent=True,
        remedy=f"put the secret into {path}, owned by the token service's user, mode 0600",
    )
