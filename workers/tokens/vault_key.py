"""Loads the key that encrypts refresh tokens in the store."""

import base64
import secrets
from pathlib import Path

from producers.disk import unusable
from producers.settings import ConfigError
from producers.trust import is_credential
from workers.process.files import create_file
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretFile

_BYTES = 32


def load_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in the file, each 32 bytes in base64 on a line of its own; a missing file is created.

    The first one encrypts; what the others have encrypted is read, too. To rotate, put a new one
    first; the old one can go once every cloud has logged in again.

    Raises:
        ConfigError: the file cannot be created or used.
    """
    try:
        if not is_credential(path) and not path.exists():
            create_file(path, new_key())
        keys = [base64.b64decode(line, validate=True) for line in SecretFile(path).read().split()]
    except OSError as error:
        raise ConfigError(unusable("tokens.key_file", path, error)) from None
    except SourceError as error:
        raise ConfigError(f"tokens.key_file: {error.message}; {error.remedy}") from None
    except ValueError:
        keys = []
    if not keys or {len(key) for key in keys} != {_BYTES}:
        raise ConfigError(
            f"tokens.key_file: {path} must hold lines of 32 bytes in base64; restore it, or remove it: then log in again"
        )
    return tuple(keys)


def new_key() -> bytes:
    """A line with a new key."""
    return base64.b64encode(secrets.token_bytes(_BYTES)) + b"\n"
