"""Connects keystoneauth with the token service: its login is a request over RabbitMQ."""

import threading
import time
from contextlib import suppress

from keystoneauth1 import access
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session

from workers.tokens.client import TokenClient
from workers.tokens.scoped import digest_of


class TokenServicePlugin(BaseIdentityPlugin):
    """Gets token and catalog of one cloud from the token service; threads may share it.

    Errors are workers.errors.TokenError; keystoneauth passes them through. `cloud` is its name in
    lamplighter.toml; nothing is sent to `auth_url`, Keystone's address.
    """

    def __init__(self, client: TokenClient, cloud: str, auth_url: str) -> None:
        super().__init__(auth_url=auth_url)
        self._client = client
        self._cloud = cloud
        self._guard = threading.Lock()
        # the token, and until when the service allows its use
        self._held: tuple[access.AccessInfo, float] | None = None
        self._refused: str | None = None
        self._used = threading.local()

    def get_access(self, session: Session | None = None, **_: object) -> access.AccessInfo:
        """The held token as long as the service allows; else a new one.

        Unlike in the base class, no lock is held meanwhile: if the service is unreachable, many
        threads time out together, not one after the other.
        """
        with self._guard:
            held = self._held
        if held is None or time.monotonic() >= held[1]:
            return self.get_auth_ref(session)
        return held[0]

    def log_in_early(self) -> None:
        """Have a token soon: the first request then waits neither for a login nor for a broker's fail-over."""

        def log_in() -> None:
            with suppress(Exception):  # the request that needs one asks again, and tells
                self.get_access()

        threading.Thread(target=log_in, name=f"login-{self._cloud}", daemon=True).start()

    def get_auth_ref(self, session: Session | None) -> access.AccessInfo:  # noqa: ARG002 - the base's
        """Request a token; again if the cloud has refused it meanwhile."""
        while True:
            with self._guard:
                refused = self._refused
            requested = time.monotonic()
            grant = self._client.fetch(self._cloud, refused)
            reference = access.create(auth_token=grant.token, body=grant.body)
            with self._guard:
                if digest_of(grant.token) != self._refused:
                    self._held = reference, requested + grant.hold
                    self._refused = None
                    return reference

    def get_token(self, session: Session) -> str | None:
        """The token; it is recorded as the one that this thread's request uses."""
        token = self.get_access(session).auth_token
        self._used.token = token
        return token

    def invalidate(self) -> bool:
        """Replace this thread's token after a 401, unless that is done already."""
        used: str | None = getattr(self._used, "token", None)
        if used is None:
            return False
        with self._guard:
            if self._held is None or self._held[0].auth_token == used:
                self._held = None
                self._refused = digest_of(used)
        return True

    def get_cache_id_elements(self) -> dict[str, str | None]:
        """Identifies the login without secrets."""
        return {"token_service_cloud": self._cloud, "auth_url": self.auth_url}
