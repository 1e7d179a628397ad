"""Defines a scoped Keystone token with its catalog, as the service passes it on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workers.tokens.errors import away


@dataclass(frozen=True, slots=True)
class ScopedToken:
    """One token: the X-Subject-Token, and Keystone's answer `{"token": {...}}` with the catalog.

    Its `life` is in seconds from issue to expiry on Keystone's clock, so clock skew does not matter.
    """

    id: str = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    life: float

    @property
    def digest(self) -> str:
        """The SHA-256 of the token, 64 hex digits: identifies it without revealing it."""
        return digest_of(self.id)


def digest_of(secret: str) -> str:
    """The SHA-256 of a secret that is too long to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def scoped_token(token_id: str, body: Mapping[str, Any]) -> ScopedToken:
    """The token in Keystone's response to a scoped login.

    Raises:
        SourceError: the response is not Keystone's.
    """
    try:
        token = body["token"]
        expires, issued = (datetime.fromisoformat(token[k]) for k in ("expires_at", "issued_at"))
        life = (expires - issued).total_seconds()
        complete = bool(token["catalog"]) and life > 0
    except (KeyError, TypeError, ValueError):
        complete = False
    if not complete:
        raise away("Keystone's response has no scoped token with a catalog and a lifetime")
    return ScopedToken(id=token_id, body=body, life=life)
