"""Whose the hooks' folders are: what root writes into them, SlurmUser could neither read nor change."""

import os
import pwd

from producers.settings import ConfigError, HookSettings


def refuse_to_shut_the_hooks_out(settings: HookSettings) -> None:
    """See that what we write stays the hooks' to change.

    Raises:
        ConfigError: we are root, and a folder is missing or another user's.
    """
    if os.geteuid() != 0:
        return
    for field, folder in (("hooks.state", settings.state), ("hooks.spool", settings.spool)):
        try:
            owner = folder.stat().st_uid
        except FileNotFoundError:
            raise ConfigError(
                f"{field}: {folder} does not exist; make it, owned by SlurmUser"
            ) from None
        if owner != 0:
            raise ConfigError(
                f"{field}: {folder} belongs to {_name(owner)}; run this as that user, for the hooks' sake"
            )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
