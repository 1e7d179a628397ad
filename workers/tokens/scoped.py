"""A scoped Keystone token as the service hands it on: whole, catalog included."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workers.tokens.errors import away

_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ScopedToken:
    """One token.

    Attributes:
        id: the X-Subject-Token.
        body: Keystone's answer, `{"token": {...}}` with the catalog.
        life: seconds from issue to expiry by Keystone's own clock, hence safe from clock skew.
    """

    id: str = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    life: float

    @property
    def digest(self) -> str:
        """The SHA-256 of the token, 64 hex digits: names it without giving it away."""
        return digest_of(self.id)


def digest_of(secret: str) -> str:
    """The SHA-256 of a secret that is too long to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def shown(digest: str) -> str:
    """As much of a digest as a log line needs."""
    return digest[:_SHOWN_DIGITS]


def scoped_token(token_id: str, body: Mapping[str, Any]) -> ScopedToken:
    """The token of Keystone's answer to a scoped login.

    Raises:
        SourceError: the answer is not Keystone's.
    """
    try:
        token = body["token"]
        expires, issued = (datetime.fromisoformat(token[k]) for k in ("expires_at", "issued_at"))
        life = (expires - issued).total_seconds()
        complete = bool(token["catalog"]) and life > 0
    except (KeyError, TypeError, ValueError):
        complete = False
    if not complete:
        raise away("Keystone's answer holds no scoped token with a catalog and a lifetime")
    return ScopedToken(id=token_id, body=body, life=life)
