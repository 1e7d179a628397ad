"""Writes a new secret to its file: atomically, and readable by one user only."""

import os
from pathlib import Path

from producers.settings import ConfigError
from producers.trust import CREDENTIALS
from workers.process.files import replace_file


def require_writable(path: Path) -> None:
    """Check before a login that `write_secret` will succeed.

    Raises:
        ConfigError: it will not; names file and remedy.
    """
    if str(path).startswith(CREDENTIALS):
        raise ConfigError(
            f"{path} is a credential of systemd and cannot be written; encrypt the new secret with"
            " systemd-creds and restart the token service"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path} cannot be written; run this as the token service's user")


def write_secret(path: Path, secret: str, owner_of: Path) -> None:
    """Replace the content of a file, mode 0600 afterwards; a reader sees the old or the new secret.

    Root gives a new file to the owner of `owner_of`, a file of the token service.

    Raises:
        OSError: the file cannot be written.
    """
    owner = None
    if os.geteuid() == 0:
        known = next((file for file in (path, owner_of) if file.exists()), None)
        owner = (known.stat().st_uid, known.stat().st_gid) if known is not None else None
    replace_file(path, f"{secret}\n".encode(), owner)
