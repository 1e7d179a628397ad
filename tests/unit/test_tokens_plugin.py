"""keystoneauth's plugin, with a token service that is played by the test."""

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
    """Numbers its tokens from 1, and keeps what it was asked."""

    def __init__(self, hold: float = 3000.0) -> None:
        self.hold = hold
        self.asked: list[str | None] = []
        self.error: TokenRefusedError | None = None
        self.same: int | None = None
        self.before: Callable[[], object] = lambda: None

    def fetch(self, cloud: str, refused: str | None = None) -> TokenGrant:
        assert cloud == "one"
        self.asked.append(refused)
        if self.error is not None:
            raise self.error
        self.before()
        number = len(self.asked) if refused or self.same is None else self.same
        return TokenGrant(f"token {number}", BODY, self.hold)


def plugin(client: ScriptedClient) -> TokenServicePlugin:
    return TokenServicePlugin(cast("TokenClient", client), "one", "http://keystone/v3")


def test_a_token_is_held_as_long_as_the_service_says_whatever_the_local_clock() -> None:
    """The body says that it expired long ago: only the service's word counts."""
    client = ScriptedClient()
    mine = plugin(client)
    assert {mine.get_token(NO_SESSION) for _ in range(100)} == {"token 1"}
    assert client.asked == [None]
    client.hold = 0.0
    assert mine.invalidate()
    assert [mine.get_token(NO_SESSION) for _ in range(3)] == ["token 2", "token 3", "token 4"]


def test_a_401_names_the_token_it_was_given_to() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    first = mine.get_token(NO_SESSION)
    assert first is not None
    assert mine.invalidate()
    assert mine.get_token(NO_SESSION) == "token 2"
    assert client.asked == [None, digest_of(first)]
    assert client.asked.count(None) == 1


def test_a_late_401_to_an_old_token_does_not_cost_the_new_one() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    with ThreadPoolExecutor(1) as early, ThreadPoolExecutor(1) as late:
        for thread in (early, late):
            assert thread.submit(mine.get_token, NO_SESSION).result() == "token 1"
        for thread in (early, late):
            assert thread.submit(mine.invalidate).result(), "worth another try"
            assert thread.submit(mine.get_token, NO_SESSION).result() == "token 2"
    assert len(client.asked) == 2


def test_the_complaint_stands_until_it_was_heard() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    mine.get_token(NO_SESSION)
    mine.invalidate()
    client.error = TokenRefusedError("provider_away", "wait", permanent=False)
    with pytest.raises(TokenRefusedError):
        mine.get_token(NO_SESSION)
    client.error = None
    mine.get_token(NO_SESSION)
    assert client.asked == [None, digest_of("token 1"), digest_of("token 1")]


def test_a_token_that_is_refused_while_it_is_fetched_anew_is_not_held() -> None:
    client = ScriptedClient()
    mine = plugin(client)
    mine.get_token(NO_SESSION)
    client.before = lambda: mine.invalidate() if len(client.asked) == 2 else None
    mine._held = None
    client.same = 1
    assert mine.get_token(NO_SESSION) == "token 3"
    assert client.asked == [None, None, digest_of("token 1")]


def test_without_a_token_there_is_nothing_to_invalidate() -> None:
    assert not plugin(ScriptedClient()).invalidate()


def test_its_identity_for_caches_holds_no_secret() -> None:
    mine = plugin(ScriptedClient())
    mine.get_token(NO_SESSION)
    assert "token 1" not in repr(mine.get_cache_id_elements())
    assert mine.get_cache_id() is not None
