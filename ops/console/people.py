"""Who may act: operators with tokens in a file, and people whom a trusted proxy names.

A token is 32 random bytes that `lamplighter console operator NAME` prints once; the file holds its
SHA-256, so whoever reads the file cannot log in with it. (A slow hash is for what people choose.)
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from producers.settings import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._@-]{0,63}) sha256:([0-9a-f]{64})")
_SESSION_SECONDS = 8 * 3600.0
_MOST_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and the token that shows that their own page asked (against forged requests)."""

    name: str
    csrf: str


def is_person(name: str) -> bool:
    """Whether a name can be an operator's: letters, digits, and a few signs."""
    return _NAME.fullmatch(name) is not None


def digest(token: str) -> str:
    """As the file has it."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """A fresh token."""
    return secrets.token_urlsafe(32)


def read_operators(path: Path) -> dict[str, str]:
    """Names by their tokens' digests.

    Raises:
        ConfigError: the file cannot be read, others may write it, or a line is none.
    """
    field = "console.operators_file"
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(1_000_000)
    except PermissionError:
        raise ConfigError(
            f"{field}: {path} may not be read by the console's user: chgrp it, and chmod 0640 it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{field}: {path}: {getattr(error, 'strerror', None) or 'is no text'}; make it with "
            "`lamplighter console operator NAME`"
        ) from None
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigError(f"{field}: {path} belongs to another user; chown it")
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IRWXO):
        raise ConfigError(f"{field}: others may read or write {path}: chmod 0600 it")
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = _LINE.fullmatch(line.strip())
        if entry is None:
            raise ConfigError(f"{field}: {path}, line {number}: write NAME sha256:DIGEST")
        found[entry[2]] = entry[1]
    return found


class Sessions:
    """Who is logged in; in memory, so that a restart logs everybody out.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        # by the digest of the cookie's value: who can read our memory dumps cannot take it over
        self._open: dict[str, tuple[str, float]] = {}

    def open(self, name: str) -> str:
        """Begin one; returns the cookie's value."""
        now = self._clock()
        self._open = {key: held for key, held in self._open.items() if held[1] > now}
        while len(self._open) >= _MOST_SESSIONS:
            del self._open[next(iter(self._open))]
        value = new_token()
        self._open[digest(value)] = name, now + _SESSION_SECONDS
        return value

    def person(self, value: str) -> Person | None:
        """Whose cookie this is, if it still holds."""
        name, until = self._open.get(digest(value), ("", 0.0))
        return Person(name, self.csrf(value)) if until > self._clock() else None

    def close(self, value: str) -> None:
        """End it."""
        self._open.pop(digest(value), None)

    def csrf(self, identity: str) -> str:
        """What a form of this identity's page carries."""
        return hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()
