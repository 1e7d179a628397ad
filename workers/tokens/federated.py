"""OpenID Connect logins, each followed by Keystone's federated one."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from workers.config.logins import ClientCredentialsSource, RefreshTokenSource
from workers.tokens.errors import SourceError
from workers.tokens.keystone import Keystone
from workers.tokens.oidc import Access, redeem, service_login
from workers.tokens.scoped import ScopedToken
from workers.tokens.secret import Secret
from workers.tokens.transport import CALL_TIMEOUT, Http
from workers.tokens.upkeep import Upkeep, due_for_use, ending, fixed_end
from workers.tokens.vault import Vault

# An access token is not used in its last seconds: Keystone asks the provider about it.
_ACCESS_MARGIN = 60.0


class Login(Protocol):
    """A way to get access tokens."""

    def obtain(self) -> Access:
        """A new access token.

        Raises:
            SourceError: there is none.
        """

    def fingerprint(self) -> str:
        """The secret's."""

    def upkeep(self, now: int) -> Upkeep:
        """What is due at `now` (ns since the epoch) though nobody asks for a token.

        Raises:
            SourceError: the store is away.
        """


class RefreshLogin:
    """The refresh token of a public client; what follows from it is in the vault."""

    def __init__(
        self, source: RefreshTokenSource, secret: Secret, http: Http, vault: Vault
    ) -> None:
        self._source = source
        self._secret = secret
        self._http = http
        self._vault = vault
        self._end: int | None = None

    def obtain(self) -> Access:
        """Use the newest refresh token; its successor is written down before we go on.

        Raises:
            SourceError: there is no access token.
        """
        with self._vault.turn(self._secret.read()) as turn:
            token = turn.token(CALL_TIMEOUT)
            redeemed = redeem(self._http, self._source, token, self._secret.place)
            standing = turn.keep(redeemed.refresh_token, redeemed.refresh_expires_in)
            self._end = fixed_end(turn.standing, standing)
        return redeemed.access

    def fingerprint(self) -> str:
        """The secret's."""
        return self._secret.fingerprint()

    def upkeep(self, now: int) -> Upkeep:
        """As Login.

        Raises:
            SourceError: the store is away.
        """
        remedy = (
            "log in at the provider again and put the new refresh token where it is read from,"
            f" {self._secret.place}"
        )
        return Upkeep(
            use=due_for_use(self._vault.standing(), now),
            ending=None if self._end is None else ending(self._end, now, remedy),
        )


class ServiceLogin:
    """An OIDC client in its own name."""

    def __init__(self, source: ClientCredentialsSource, secret: Secret, http: Http) -> None:
        self._source = source
        self._secret = secret
        self._http = http

    def obtain(self) -> Access:
        """Log in.

        Raises:
            SourceError: there is no access token.
        """
        return service_login(self._http, self._source, self._secret.read(), self._secret.place)

    def fingerprint(self) -> str:
        """The secret's."""
        return self._secret.fingerprint()

    def upkeep(self, now: int) -> Upkeep:  # noqa: ARG002 - the protocol's
        """Nothing is ever due."""
        return Upkeep()


@dataclass(frozen=True, slots=True)
class _HeldAccess:
    """An access token in hand, from a secret of this fingerprint."""

    token: str = field(repr=False)
    until: float
    fingerprint: str


class Federated:
    """A login at a provider, then Keystone's federated one.

    An access token is used as long as it lasts, so that neither a Keystone that is away nor a
    refused token costs a rotation.
    """

    def __init__(
        self,
        source: RefreshTokenSource | ClientCredentialsSource,
        login: Login,
        keystone: Keystone,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._login = login
        self._keystone = keystone
        self._clock = clock
        self._held: _HeldAccess | None = None

    def fetch(self) -> ScopedToken:
        """Get an access token where needed, log in, scope.

        Raises:
            SourceError: there is no token.
        """
        held, self._held = self._held, None
        current = self._login.fingerprint()
        if held and self._clock() < held.until and held.fingerprint == current:
            try:
                token = self._at_keystone(held)
            except SourceError as error:
                if error.error != "unauthorized":
                    self._held = held
                    raise
            else:
                self._held = held
                return token
        asked = self._clock()
        access = self._login.obtain()
        self._held = _HeldAccess(access.token, asked + access.expires_in - _ACCESS_MARGIN, current)
        return self._at_keystone(self._held)

    def fingerprint(self) -> str:
        """The secret's."""
        return self._login.fingerprint()

    def upkeep(self, now: int) -> Upkeep:
        """As the login says.

        Raises:
            SourceError: the store is away.
        """
        return self._login.upkeep(now)

    def _at_keystone(self, held: _HeldAccess) -> ScopedToken:
        source = self._source
        return self._keystone.federated_login(source.identity_provider, source.protocol, held.token)
