"""Loads the key that encrypts refresh tokens in the store."""

import base64
import binascii
import secrets
from pathlib import Path

from producers.disk import unusable
from producers.settings import ConfigError
from workers.process.files import create_file
from workers.tokens.errors import SourceError
from workers.tokens.secret import read_secret

_BYTES = 32


def load_key(path: Path) -> bytes:
    """The 32 bytes in the file, in base64; a missing file is created.

    Raises:
        ConfigError: the file cannot be created or used.
    """
    try:
        if not path.exists():
            create_file(path, base64.b64encode(secrets.token_bytes(_BYTES)) + b"\n")
        key = base64.b64decode(read_secret(path), validate=True)
    except OSError as error:
        raise ConfigError(unusable("tokens.key_file", path, error)) from None
    except SourceError as error:
        raise ConfigError(f"tokens.key_file: {error.message}; {error.remedy}") from None
    except binascii.Error:
        key = b""
    if len(key) != _BYTES:
        raise ConfigError(
            f"tokens.key_file: {path} does not hold 32 bytes in base64; restore it, or remove it: then log in anew"
        )
    return key
