"""Keystone's tokens: issued, looked up, expired, revoked."""

import secrets
from dataclasses import dataclass

from tests.testbed.simcloud.clock import Time
from tests.testbed.simcloud.errors import UnauthorizedError


@dataclass(frozen=True, slots=True)
class Token:
    """A token. ``project_id`` is ``None`` if it is unscoped; times are seconds since the epoch."""

    id: str
    methods: tuple[str, ...]
    user_id: str
    user_name: str
    project_id: str | None
    issued: float
    expires: float
    federated: bool = False


class TokenStore:
    """The valid tokens."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._tokens: dict[str, Token] = {}
        # All tokens ever issued, for tests that search for leaked tokens.
        self.issued: list[str] = []

    def issue(  # noqa: PLR0913 (a token's own members)
        self,
        methods: tuple[str, ...],
        user_id: str,
        user_name: str,
        project_id: str | None,
        expires: float,
        *,
        federated: bool = False,
    ) -> Token:
        token = Token(
            id="gAAAAAB" + secrets.token_urlsafe(96),
            methods=methods,
            user_id=user_id,
            user_name=user_name,
            project_id=project_id,
            issued=self._time.now(),
            expires=expires,
            federated=federated,
        )
        self._tokens[token.id] = token
        self.issued.append(token.id)
        return token

    def check(self, token_id: str | None) -> Token:
        """Return the token with this id.

        Raises:
            UnauthorizedError: the token does not exist, has expired or was revoked.
        """
        token = self._tokens.get(token_id or "")
        if token is None:
            raise UnauthorizedError
        if token.expires <= self._time.now():
            del self._tokens[token.id]
            raise UnauthorizedError
        return token

    def revoke(self, token_id: str) -> None:
        self._tokens.pop(token_id, None)

    def revoke_all(self) -> int:
        """Revoke all tokens; return their number."""
        count = len(self._tokens)
        self._tokens.clear()
        return count
