"""Logs in at an OpenID Connect provider, then at Keystone by federation."""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from producers.settings import ConfigError
from workers.config.logins import ClientCredentialsSource, RefreshTokenSource
from workers.tokens.discovery import endpoint_of
from workers.tokens.errors import SourceError
from workers.tokens.keystone import Keystone
from workers.tokens.oidc import AccessToken, redeem, revoke, service_login
from workers.tokens.revocations import RevocableSecret
from workers.tokens.scoped import ScopedToken
from workers.tokens.source import Source
from workers.tokens.transport import Http
from workers.tokens.upkeep import Upkeep, due_for_use, expiry_warning, fixed_end
from workers.tokens.vault import Vault

# An access token is not used in its last seconds: Keystone checks it at the provider.
_ACCESS_MARGIN = 60.0


@dataclass(frozen=True, slots=True)
class _HeldAccess:
    """A held access token, obtained with the secret of this fingerprint."""

    token: str = field(repr=False)
    until: float
    fingerprint: str


class FederatedLogin(Source):
    """A login at a provider, then at Keystone by federation.

    An access token is used as long as it lasts, so that neither an unreachable Keystone nor a
    refused token costs a rotation.
    """

    def __init__(
        self,
        source: ClientCredentialsSource | RefreshTokenSource,
        secret: RevocableSecret,
        keystone: Keystone,
        http: Http,
    ) -> None:
        super().__init__(secret, keystone)
        self._source = source
        self._federation = source.identity_provider, source.protocol
        self._http = http
        self._held: _HeldAccess | None = None

    @abstractmethod
    def _obtain(self) -> AccessToken:
        """Get a new access token; errors as in `fetch`."""

    def forget(self, tokens: Iterable[ScopedToken]) -> list[str]:
        """Drop the access token too."""
        self._held = None
        return super().forget(tokens)

    def fetch(self) -> ScopedToken:
        """Get an access token if needed, log in with it, and scope the token."""
        held, current = self._held, self.fingerprint()
        if held and time.monotonic() < held.until and held.fingerprint == current:
            try:
                return self._keystone.federated_login(*self._federation, held.token)
            except SourceError as error:
                if error.error != "unauthorized":
                    raise
        self._held, requested = None, time.monotonic()
        access = self._obtain()
        until = requested + access.expires_in - _ACCESS_MARGIN
        self._held = _HeldAccess(access.token, until, current)
        return self._keystone.federated_login(*self._federation, access.token)


class RefreshTokenLogin(FederatedLogin):
    """The refresh token of a public client; the vault, which `vault` opens, holds its successors."""

    _source: RefreshTokenSource

    def __init__(
        self,
        source: RefreshTokenSource,
        secret: RevocableSecret,
        keystone: Keystone,
        http: Http,
        vault: Callable[[], Vault],
    ) -> None:
        super().__init__(source, secret, keystone, http)
        self._open_vault = vault
        self._end: int | None = None

    @cached_property
    def _vault(self) -> Vault:
        """Opened with the first use: other clouds have tokens without it, and without its key."""
        try:
            return self._open_vault()
        except ConfigError as error:
            remedy = "correct tokens.key_file, or restore the file"
            raise SourceError("misconfigured", str(error), remedy=remedy) from None

    def _obtain(self) -> AccessToken:
        """Use the newest refresh token; its successor is stored before anything else is done."""
        with self._vault.lease(self._secret.read()) as leased:
            token = leased.token()
            redeemed = redeem(self._http, self._source, token, self._secret.place)
            state = leased.replace(redeemed.refresh_token, redeemed.refresh_expires_in)
            self._end = fixed_end(leased.state, state)
        return redeemed.access

    def _revoke_credential(self, secret: str) -> list[str]:
        """End the login at the provider, and forget it."""
        end = "end this login on the provider's page of sessions"
        try:
            self._vault.revoke(secret, self._revoke_at_provider)
        except SourceError as error:
            return [f"{error.message}: repeat the command, or {end}"]
        return []

    def _revoke_at_provider(self, token: str) -> None:
        endpoint = endpoint_of(self._http, self._source.token_endpoint, "revocation_endpoint")
        if endpoint is None:
            raise SourceError("not_offered", "the login provider offers no revocation")
        revoke(self._http, self._source, endpoint, token)

    def upkeep(self, now: int) -> Upkeep:
        """A use of an idle login, and a warning before its end."""
        use, place = due_for_use(self._vault.state(), now), self._secret.place
        remedy = f"log in at the provider again and replace the refresh token in {place}"
        return Upkeep(use, None if self._end is None else expiry_warning(self._end, now, remedy))


class ServiceAccountLogin(FederatedLogin):
    """An OIDC client that logs in with its own secret."""

    _source: ClientCredentialsSource

    def _obtain(self) -> AccessToken:
        return service_login(self._http, self._source, self._secret.read(), self._secret.place)
