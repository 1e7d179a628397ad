"""Tests of the keystoneauth plugin with a scripted token service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import pytest

from workers.errors import TokenRefusedError
from workers.tokens.plugin import TokenServicePlugin
from workers.tokens.rpc import TokenGrant
from workers.tokens.scoped import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystoneauth1.session import Session

    from workers.tokens.client import TokenClient

NO_SESSION = cast("Session", None)
BODY = {
    "token": {
        "issued_at": "2026-07-01T10:00:00.000000Z",
        "expires_at": "2026-07-01T11:00:00.000000Z",
        "catalog": [],
    }
}


class ScriptedClient:
    """Numbers its tokens from 1, and records the requests."""

    def __init__(self, hold: float = 3000.0) -> None:
        self.hold = hold
        self.requests: list[str | None] = []
        self.error: TokenRefusedError | None = None
        self.same: int | None = None
        self.before: Callable[[], object] = lambda: None

    def fetch(self, cloud: str, refused: str | None = None) -> TokenGrant:
        assert cloud == "one"
        self.requests.append(refused)
        if self.error is not None:
            raise self.error
        self.before()
        number = len(self.requests) if refused or self.same is None else self.same
        return TokenGrant(f"token {number}", BODY, self.hold)


def plugin(client: ScriptedClient) -> TokenServicePlugin:
    return TokenServicePlugin(cast("TokenClient", client), "one", "http://keystone/v3")


def test_token_is_held_as_long_as_the_service_allows() -> None:
    """The body has expired long ago: only the hold time of the service counts."""
    client = ScriptedClient()
    mine = plugin(client)
    assert {mine.get_token(NO_SESSION) for _ in range(100)} == {"token 1"}
    assert client.requests == [None]
    client.hold = 0.0
    assert mine.invalidate()
    assert [mine.get_token(NO_SESSION) for _ in range(3)] == ["token 2", "token 3", "token 4"]


def test_401_reports_the_token_that_was_used() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    first = mine.get_token(NO_SESSION)
    assert first is not None
    assert mine.invalidate()
    assert mine.get_token(NO_SESSION) == "token 2"
    assert client.requests == [None, digest_of(first)]
    assert client.requests.count(None) == 1


def test_late_401_for_an_old_token_keeps_the_new_one() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    with ThreadPoolExecutor(1) as early, ThreadPoolExecutor(1) as late:
        for thread in (early, late):
            assert thread.submit(mine.get_token, NO_SESSION).result() == "token 1"
        for thread in (early, late):
            assert thread.submit(mine.invalidate).result(), "the request is to be repeated"
            assert thread.submit(mine.get_token, NO_SESSION).result() == "token 2"
    assert len(client.requests) == 2


def test_refused_token_is_reported_until_the_service_responds() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    mine.get_token(NO_SESSION)
    mine.invalidate()
    client.error = TokenRefusedError("provider_away", "wait", permanent=False)
    with pytest.raises(TokenRefusedError):
        mine.get_token(NO_SESSION)
    client.error = None
    mine.get_token(NO_SESSION)
    assert client.requests == [None, digest_of("token 1"), digest_of("token 1")]


def test_token_refused_during_its_fetch_is_not_held() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    mine.get_token(NO_SESSION)
    client.before = lambda: mine.invalidate() if len(client.requests) == 2 else None
    mine._held = None
    client.same = 1
    assert mine.get_token(NO_SESSION) == "token 3"
    assert client.requests == [None, None, digest_of("token 1")]


def test_invalidate_without_a_token_does_nothing() -> None:
    assert not plugin(ScriptedClient()).invalidate()


def test_cache_id_contains_no_secret() -> None:
    mine = plugin(ScriptedClient())
    mine.get_token(NO_SESSION)
    assert "token 1" not in repr(mine.get_cache_id_elements())
    assert mine.get_cache_id() is not None
