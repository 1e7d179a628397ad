"""keystoneauth's view of the token service: a plugin whose login is a request over RabbitMQ."""

import threading
import time
from dataclasses import dataclass

from keystoneauth1 import access
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session

from workers.tokens.client import TokenClient
from workers.tokens.scoped import digest_of


@dataclass(frozen=True, slots=True)
class _HeldToken:
    access: access.AccessInfo
    until: float


class TokenServicePlugin(BaseIdentityPlugin):
    """Tokens and catalog of one cloud from the token service; may be shared by many threads.

    Errors are workers.errors.TokenError's; keystoneauth lets them through as they are.

    Args:
        client: the connection to the token service.
        cloud: the cloud's name in lamplighter.toml.
        auth_url: Keystone's, for those who ask where it is; nothing is sent there.
    """

    def __init__(self, client: TokenClient, cloud: str, auth_url: str) -> None:
        super().__init__(auth_url=auth_url)
        self._client = client
        self._cloud = cloud
        self._guard = threading.Lock()
        self._held: _HeldToken | None = None
        self._refused: str | None = None
        self._given = threading.local()

    def get_access(self, session: Session, **_: object) -> access.AccessInfo:
        """What is held while the service said it may be; else a new one.

        Unlike the base class, no lock is held meanwhile: when the service is away, many threads
        learn it together, not one after the other.
        """
        with self._guard:
            held = self._held
        if held is None or time.monotonic() >= held.until:
            return self.get_auth_ref(session)
        return held.access

    def get_auth_ref(self, session: Session) -> access.AccessInfo:  # noqa: ARG002 - the base's
        """Ask the service, again where what it gave has been refused meanwhile."""
        while True:
            with self._guard:
                refused = self._refused
            asked = time.monotonic()
            grant = self._client.fetch(self._cloud, refused)
            reference = access.create(auth_token=grant.token, body=grant.body)
            with self._guard:
                if digest_of(grant.token) != self._refused:
                    self._held = _HeldToken(reference, asked + grant.hold)
                    self._refused = None
                    return reference

    def get_token(self, session: Session) -> str | None:
        """The token, remembered as the one that this thread's request uses."""
        token = self.get_access(session).auth_token
        self._given.token = token
        return token

    def invalidate(self) -> bool:
        """The cloud has answered 401 to this thread's token: replace it, unless that is done."""
        given: str | None = getattr(self._given, "token", None)
        if given is None:
            return False
        with self._guard:
            if self._held is None or self._held.access.auth_token == given:
                self._held = None
                self._refused = digest_of(given)
        return True

    def get_cache_id_elements(self) -> dict[str, str | None]:
        """Names the identity without secrets."""
        return {"token_service_cloud": self._cloud, "auth_url": self.auth_url}
