"""Defines a scoped Keystone token with its catalog, as the service passes it on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from workers.tokens.errors import away

_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class _Domain(msgspec.Struct, omit_defaults=True):
    id: _Text | None = None
    name: _Text | None = None


class _Owner(msgspec.Struct):
    """A user or a project."""

    id: _Text
    name: _Text
    domain: _Domain


class _Role(msgspec.Struct):
    id: _Text
    name: _Text


class _Endpoint(msgspec.Struct, omit_defaults=True):
    interface: _Text
    url: Annotated[str, msgspec.Meta(max_length=4096)]
    region: _Text | None = None
    region_id: _Text | None = None
    id: _Text | None = None


class _Service(msgspec.Struct, omit_defaults=True):
    type: _Text
    endpoints: list[_Endpoint]
    name: _Text | None = None
    id: _Text | None = None


class _Token(msgspec.Struct):
    """What keystoneauth reads of a token."""

    expires_at: datetime
    issued_at: datetime
    user: _Owner
    project: _Owner
    catalog: Annotated[list[_Service], msgspec.Meta(min_length=1, max_length=1000)]
    roles: list[_Role] = msgspec.field(default_factory=list)
    methods: list[_Text] = msgspec.field(default_factory=list)


class KeystoneAnswer(msgspec.Struct):
    """Keystone's response to a scoped login; fields that nobody reads are left out."""

    token: _Token


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


def scoped_token(token_id: str, answer: KeystoneAnswer) -> ScopedToken:
    """The token in Keystone's response to a scoped login.

    Raises:
        SourceError: the response is not Keystone's.
    """
    token = answer.token
    # Keystone's times are UTC, with or without saying so
    expires, issued = (
        moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        for moment in (token.expires_at, token.issued_at)
    )
    life = (expires - issued).total_seconds()
    if life <= 0:
        raise away("Keystone's response has a token that has expired when it was issued")
    return ScopedToken(id=token_id, body=msgspec.to_builtins(answer), life=life)
