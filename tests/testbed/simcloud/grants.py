"""The grants of the login provider: families of refresh tokens, and access tokens.

With rotation, a refresh token is valid once. Its second use revokes the whole family, because one
of the two users must have stolen it (RFC 9700, 4.14.2).
"""

import secrets
from dataclasses import dataclass

from tests.testbed.simcloud.clock import Time
from tests.testbed.simcloud.scopes import beyond
from tests.testbed.simcloud.settings import CurrentSettings


class InvalidGrantError(Exception):
    """The refresh token is unknown, expired, revoked, already used, or of another client."""


class InvalidScopeError(Exception):
    """The requested scope exceeds the login's; the refresh token stays valid."""


@dataclass(slots=True)
class Family:
    """All tokens that descend from one login."""

    subject: str
    client_id: str
    scope: str
    revoked: bool = False


@dataclass(slots=True)
class RefreshToken:
    value: str
    family: Family
    expires: float
    rotated_out: bool = False


@dataclass(frozen=True, slots=True)
class AccessToken:
    value: str
    family: Family
    scope: str
    issued: float
    expires: float


class GrantStore:
    """Families, refresh tokens and access tokens. Times are seconds since the epoch."""

    def __init__(self, time: Time, dials: CurrentSettings) -> None:
        self._time = time
        self._dials = dials
        self._families: list[Family] = []
        self._refresh: dict[str, RefreshToken] = {}
        self._access: dict[str, AccessToken] = {}
        # All tokens ever issued, for tests that search for leaked tokens.
        self.issued: list[str] = []

    def login(
        self, subject: str, client_id: str, scope: str, value: str | None = None
    ) -> RefreshToken:
        """Start a family, as if ``subject`` had just logged in; return its first refresh token."""
        family = Family(subject, client_id, scope)
        self._families.append(family)
        return self._new_refresh(family, value)

    def refresh(self, value: str, client_id: str, scope: str) -> tuple[AccessToken, RefreshToken]:
        """Redeem a refresh token; ``scope`` narrows the access token's scope, empty keeps the login's.

        Raises:
            InvalidGrantError: the token is invalid, or invalid for this client.
            InvalidScopeError: ``scope`` exceeds the login's scope.
        """
        token = self._refresh.get(value)
        if token is None:
            raise InvalidGrantError("Invalid refresh token")
        family = token.family
        if family.client_id != client_id:
            raise InvalidGrantError(
                "Invalid refresh token. Token client and authorized client don't match"
            )
        if family.revoked:
            raise InvalidGrantError("Session not active")
        if token.rotated_out:
            family.revoked = True
            raise InvalidGrantError("Maximum allowed refresh token reuse exceeded")
        if token.expires <= self._time.now():
            raise InvalidGrantError("Token is not active")
        if excess := beyond(scope, family.scope):
            raise InvalidScopeError(f"Invalid scopes: {' '.join(sorted(excess))}")
        access = self.grant(family, scope or family.scope)
        if not self._dials.now.rotate_refresh_tokens:
            return access, token
        token.rotated_out = True
        return access, self._new_refresh(family)

    def service_login(self, client_id: str, scope: str) -> AccessToken:
        """Grant an access token to a client for itself."""
        family = Family(client_id, client_id, scope)
        self._families.append(family)
        return self.grant(family, scope)

    def grant(self, family: Family, scope: str) -> AccessToken:
        now = self._time.now()
        token = AccessToken(
            value="sim-access-" + secrets.token_urlsafe(48),
            family=family,
            scope=scope,
            issued=now,
            expires=now + self._dials.now.access_token_seconds,
        )
        self._access[token.value] = token
        self.issued.append(token.value)
        return token

    def access(self, value: str) -> AccessToken | None:
        """Return the access token if it is valid now."""
        token = self._access.get(value)
        if token is None or token.family.revoked or token.expires <= self._time.now():
            return None
        return token

    def revoke(self, value: str, client_id: str) -> None:
        """Revoke the family of a refresh token, if it is one of this client."""
        token = self._refresh.get(value)
        if token is not None and token.family.client_id == client_id:
            token.family.revoked = True

    def revoke_all(self) -> int:
        """Revoke all families, as their users could; return the number of valid ones."""
        alive = [family for family in self._families if not family.revoked]
        for family in alive:
            family.revoked = True
        return len(alive)

    def expire_access_tokens(self) -> int:
        """Expire all access tokens but no refresh token; return their number."""
        count = len(self._access)
        self._access.clear()
        return count

    def remaining_seconds(self, token: RefreshToken) -> int:
        return max(0, round(token.expires - self._time.now()))

    def _new_refresh(self, family: Family, value: str | None = None) -> RefreshToken:
        token = RefreshToken(
            value=value or "sim-refresh-" + secrets.token_urlsafe(48),
            family=family,
            expires=self._time.now() + self._dials.now.refresh_token_seconds,
        )
        self._refresh[token.value] = token
        self.issued.append(token.value)
        return token
