"""The operators file, operators' tokens and login sessions.

A token is 32 random bytes that `lamplighter console operator NAME` prints once. The file holds its
SHA-256, so a reader of the file cannot log in with it. A slow hash is needed only for passwords that
people choose.
"""

import hashlib
import hmac
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from producers.settings import ConfigError
from producers.trust import distrust

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(rf"({_NAME.pattern}) sha256:([0-9a-f]{{64}})")
_SESSION_SECONDS = 8 * 3600.0
_MAX_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class User:
    """A known user, and the token that their forms carry against cross-site request forgery."""

    name: str
    csrf: str


def is_valid_name(name: str) -> bool:
    """Return whether an operator may have this name: letters, digits and `. _ @ -`."""
    return _NAME.fullmatch(name) is not None


def digest(token: str) -> str:
    """Return a token's digest, as the operators file holds it."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(32)


def read_operators(path: Path) -> dict[str, str]:
    """Return the operators' names by the digests of their tokens.

    Raises:
        ConfigError: the file cannot be read, other users may read or write it, or a line is invalid.
    """
    field = "console.operators_file"
    try:
        with path.open(encoding="utf-8") as file:
            problem = distrust(file.fileno(), stat.S_IRWXO)
            text = file.read(1_000_000)
    except PermissionError:
        raise ConfigError(
            f"{field}: the console's user may not read {path}: chgrp it, and chmod 0640 it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{field}: {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}; create it "
            "with `lamplighter console operator NAME`"
        ) from None
    if problem is not None:
        raise ConfigError(f"{field}: {path} {problem}")
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
    """The login sessions, in memory: a restart logs all users out. The clock is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        # by the digest of the cookie: a memory dump does not reveal a usable cookie
        self._open: dict[str, tuple[str, float]] = {}

    def open(self, name: str) -> str:
        """Open a session and return the cookie's value."""
        now = self._clock()
        self._open = {key: held for key, held in self._open.items() if held[1] > now}
        while len(self._open) >= _MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        cookie = new_token()
        self._open[digest(cookie)] = name, now + _SESSION_SECONDS
        return cookie

    def user(self, cookie: str) -> User | None:
        """Return the user of a session, or None if the session is unknown or has expired."""
        name, until = self._open.get(digest(cookie), ("", 0.0))
        return User(name, self.csrf(cookie)) if until > self._clock() else None

    def close(self, cookie: str) -> None:
        """Close a session, if it is open."""
        self._open.pop(digest(cookie), None)

    def csrf(self, identity: str) -> str:
        """Return the token that the forms of this identity carry."""
        return hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()
