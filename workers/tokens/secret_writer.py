"""Putting a new secret where a secret is read from: whole or not at all, and for one user alone."""

import os
from pathlib import Path

from producers.settings import ConfigError
from workers.config.settings import CREDENTIALS
from workers.process.files import put


def require_writable(path: Path) -> None:
    """Make sure that `write_secret` will do, before anybody goes to the trouble of a login.

    Raises:
        ConfigError: naming the file and the remedy.
    """
    if str(path).startswith(CREDENTIALS):
        raise ConfigError(
            f"{path} is given by systemd and cannot be written; encrypt the new secret with"
            " systemd-creds and restart the token service"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path} cannot be written; run this as the token service's user")


def write_secret(path: Path, secret: str, owner_of: Path) -> None:
    """Replace the file's content; who reads it sees the old or the new.

    Args:
        path: the file; mode 0600 afterwards.
        secret: what to write.
        owner_of: a file of the token service's: root gives the new one to its owner, unless
            `path` has one already.

    Raises:
        OSError: it cannot be written.
    """
    owner = None
    if os.geteuid() == 0:
        known = next((file for file in (path, owner_of) if file.exists()), None)
        owner = (known.stat().st_uid, known.stat().st_gid) if known is not None else None
    put(path, f"{secret}\n".encode(), owner)
