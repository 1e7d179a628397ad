"""Where a cloud's tokens come from: one small seam, a class for each way to log in."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from workers.settings import (
    ApplicationCredentialSource,
    CloudSettings,
    PasswordSource,
    RefreshTokenSource,
)
from workers.tokens.errors import SourceError
from workers.tokens.keystone import Keystone
from workers.tokens.oidc import redeem
from workers.tokens.scoped import ScopedToken
from workers.tokens.secretfile import fingerprint, read_secret
from workers.tokens.transport import CALL_TIMEOUT, Http
from workers.tokens.vault import Vault

# An access token is not used in its last seconds: Keystone asks the provider about it.
_ACCESS_MARGIN = 60.0


class Source(Protocol):
    """Gets scoped tokens for one cloud; used by one thread at a time."""

    def fetch(self) -> ScopedToken:
        """A new token, by network calls that take seconds at most.

        Raises:
            SourceError: there is none.
        """

    def fingerprint(self) -> str:
        """Changes when the credential does; may be called by any thread."""


class Password:
    """Keystone user and password."""

    def __init__(self, settings: PasswordSource, keystone: Keystone) -> None:
        self._settings = settings
        self._keystone = keystone

    def fetch(self) -> ScopedToken:
        """Log in."""
        settings = self._settings
        user = {
            "name": settings.username,
            "domain": {"name": settings.user_domain},
            "password": read_secret(settings.password_file),
        }
        return self._keystone.login(
            {"methods": ["password"], "password": {"user": user}},
            remedy=f"put the password of {settings.username} into {settings.password_file},"
            " and check project and user_domain",
        )

    def fingerprint(self) -> str:
        """Of the password file."""
        return fingerprint(self._settings.password_file)


class ApplicationCredential:
    """Keystone application credential."""

    def __init__(self, settings: ApplicationCredentialSource, keystone: Keystone) -> None:
        self._settings = settings
        self._keystone = keystone

    def fetch(self) -> ScopedToken:
        """Log in."""
        settings = self._settings
        credential = {"id": settings.id, "secret": read_secret(settings.secret_file)}
        return self._keystone.login(
            {"methods": ["application_credential"], "application_credential": credential},
            remedy="make a new application credential, put its id into the configuration"
            f" and its secret into {settings.secret_file}",
        )

    def fingerprint(self) -> str:
        """Of the secret's file."""
        return fingerprint(self._settings.secret_file)


@dataclass(frozen=True, slots=True)
class _Access:
    """An access token in hand, from a refresh token file of this fingerprint."""

    token: str = field(repr=False)
    until: float
    fingerprint: str


class RefreshToken:
    """OIDC refresh token of a public client, then Keystone's federated login.

    An access token is used as long as it lasts, so that neither a Keystone that is away nor a
    replaced token costs a rotation.
    """

    def __init__(
        self,
        settings: RefreshTokenSource,
        keystone: Keystone,
        http: Http,
        vault: Vault,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._keystone = keystone
        self._http = http
        self._vault = vault
        self._clock = clock
        self._access: _Access | None = None

    def fetch(self) -> ScopedToken:
        """Refresh where needed, log in, scope."""
        access, self._access = self._access, None
        current = self.fingerprint()
        if access and self._clock() < access.until and access.fingerprint == current:
            try:
                return self._log_in(access)
            except SourceError as error:
                if error.error != "unauthorized":
                    self._access = access
                    raise
        return self._log_in(self._refresh(current))

    def fingerprint(self) -> str:
        """Of the refresh token's file."""
        return fingerprint(self._settings.refresh_token_file)

    def _log_in(self, access: _Access) -> ScopedToken:
        settings = self._settings
        return self._keystone.federated_login(
            settings.identity_provider, settings.protocol, access.token
        )

    def _refresh(self, current: str) -> _Access:
        asked = self._clock()
        with self._vault.turn(read_secret(self._settings.refresh_token_file)) as turn:
            redeemed = redeem(self._http, self._settings, turn.token(CALL_TIMEOUT))
            turn.keep(redeemed.refresh_token, redeemed.refresh_expires_in)
        until = asked + redeemed.expires_in - _ACCESS_MARGIN
        self._access = _Access(redeemed.access_token, until, current)
        return self._access


def make_source(cloud: CloudSettings, vault: Callable[[], Vault]) -> Source:
    """The source that the configuration names for this cloud.

    Raises:
        ConfigError: `vault` cannot be opened; only sources that rotate need it.
    """
    http = Http(cloud.ca_file)
    keystone = Keystone(cloud, http)
    match cloud.source:
        case PasswordSource():
            return Password(cloud.source, keystone)
        case ApplicationCredentialSource():
            return ApplicationCredential(cloud.source, keystone)
        case RefreshTokenSource():
            return RefreshToken(cloud.source, keystone, http, vault())
