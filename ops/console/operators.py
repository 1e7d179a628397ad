"""The operators file, operators' tokens and login sessions.

A token is 32 random bytes that `lamplighter console operator NAME` prints once. The file holds its
SHA-256, so a reader of the file cannot log in with it. A slow hash is needed only for passwords that
people choose.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from producers.disk import read_file
from producers.settings import ConfigError
from producers.trust import UntrustedFileError, read_trusted, shown_file
from workers.process.files import replace_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(rf"({_NAME.pattern}) sha256:([0-9a-f]{{64}})")
_SESSION_SECONDS = 8 * 3600.0
_IDLE_SECONDS = 3600.0
_MAX_SESSIONS = 1000
# no operator can have this name
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class ConsoleUser:
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
        text = read_trusted(path, private=True)
    except UntrustedFileError as error:
        raise ConfigError(f"{field}: {error}") from None
    except PermissionError:
        raise ConfigError(
            f"{field}: the console's user may not read {path}: chgrp it, and chmod 0640 it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{field}: {shown_file(path)}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}; create it "
            "with `lamplighter console operator NAME`"
        ) from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = _LINE.fullmatch(line.strip())
        if entry is None:
            raise ConfigError(f"{field}: {path}, line {number}: write NAME sha256:DIGEST")
        found[entry[2]] = entry[1]
    return found


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A login; times are those of the clock.

    `login` is the digest of the token that the user has logged in with, and `logouts` what was read of
    the user's logouts then: a difference ends the session, whoever sets the host's time.
    """

    name: str
    login: str
    logouts: tuple[int, int]
    until: float
    idle_until: float


class Sessions:
    """The login sessions, in memory: a restart logs all users out. The clock is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        # by the digest of the cookie: a memory dump does not reveal a usable cookie
        self._open: dict[str, LoginSession] = {}

    def open(self, name: str, login: str = "", logouts: tuple[int, int] = (0, 0)) -> str:
        """Open a session and return the cookie's value."""
        now = self._clock()
        self._open = {key: held for key, held in self._open.items() if _is_open(held, now)}
        while len(self._open) >= _MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        cookie = new_token()
        self._open[digest(cookie)] = LoginSession(
            name, login, logouts, now + _SESSION_SECONDS, now + _IDLE_SECONDS
        )
        return cookie

    def session(self, cookie: str, *, is_active: bool = True) -> LoginSession | None:
        """Return an open session, or None; a request of an active user postpones its idle end."""
        key, now = digest(cookie), self._clock()
        held = self._open.get(key)
        if held is None or not _is_open(held, now):
            self._open.pop(key, None)
            return None
        if is_active:
            held = self._open[key] = replace(held, idle_until=now + _IDLE_SECONDS)
        return held

    def close(self, cookie: str) -> None:
        """Close a session, if it is open."""
        self._open.pop(digest(cookie), None)

    def csrf(self, identity: str) -> str:
        """Return the token that the forms of this identity carry."""
        return hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()


def _is_open(held: LoginSession, now: float) -> bool:
    return now < min(held.until, held.idle_until)


def logouts_file(operators: Path) -> Path:
    """The file in which `lamplighter console logout` tells the console whose sessions end."""
    return operators.with_name(f"{operators.name}.logouts")


def write_logout(operators: Path, name: str | None, now: int) -> None:
    """End the open sessions of a user (None for all); `now`, ns since the epoch, is another number each time.

    Who may read the operators file, by its owner or by its group, may read this one.

    Raises:
        OSError: the file cannot be written.
    """
    path = logouts_file(operators)
    kept = {**read_logouts(operators), name or EVERYBODY: now}
    lines = "".join(f"{who} {when}\n" for who, when in kept.items())
    like = operators.stat()
    owner = (like.st_uid, like.st_gid) if os.geteuid() == 0 else None
    replace_file(path, lines.encode(), owner, stat.S_IMODE(like.st_mode))


def read_logouts(operators: Path) -> dict[str, int]:
    """When the sessions of a user, or of everybody, were last ended; ns since the epoch.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        text = read_file(logouts_file(operators)).decode(errors="replace")
    except FileNotFoundError:
        return {}
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}  # noqa: PLR2004
