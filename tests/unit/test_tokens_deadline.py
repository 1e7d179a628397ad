"""A login has a time limit in all its steps together, which ends before the lease on its refresh token."""

from __future__ import annotations

import json
import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest

from tests.testbed.stores import STORES
from tests.testbed.web_server import serving
from tests.unit.test_tokens_foreign import GOOD
from workers.config.groups import CloudSettings
from workers.config.logins import RefreshTokenSource
from workers.process import foreign
from workers.store.database import open_store
from workers.tokens import issuer, transport, vault
from workers.tokens.errors import SourceError
from workers.tokens.issuer import Issuer
from workers.tokens.revocations import Revocations
from workers.tokens.rpc import TokenRefusal
from workers.tokens.sources import make_source
from workers.tokens.transport import CONNECT_TIMEOUT, LOGIN_TIMEOUT, Http, time_left, time_limit
from workers.tokens.vault import LEASE, Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workers.tokens.source import Source

STEPS = ("/token", "/v3/OS-FEDERATION", "/v3/auth/tokens")
DISCOVERY = "/.well-known"
LIMIT = 1.0


@dataclass
class Provider:
    """A login provider and a Keystone; each path may take its time, byte by byte.

    Attributes:
        seconds: the time of an answer, by the beginning of its path; infinite for one that never ends.
        seen: the paths of all calls.
    """

    url: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def running() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            provider.seen.append(self.path)
            body = {"access_token": "access", "refresh_token": "next", "expires_in": 3600}
            self.reply(json.dumps(body if self.path == "/token" else {"token": GOOD}).encode())

        def do_GET(self) -> None:
            provider.seen.append(self.path)
            self.reply(b'{"token_endpoint": "https://another"}')

        def reply(self, body: bytes) -> None:
            slow = [s for path, s in provider.seconds.items() if self.path.startswith(path)]
            head = f"HTTP/1.0 200 OK\r\nX-Subject-Token: t\r\nContent-Length: {len(body)}\r\n\r\n"
            if not slow:
                self.wfile.write(head.encode() + body)
                return
            pause = min(0.1, slow[0] / len(head))
            try:
                for letter in head.encode():
                    self.wfile.write(bytes([letter]))
                    if provider.over.wait(pause):
                        return
                self.wfile.write(body)
            except OSError:
                """The caller has given up."""

    with serving(Handler) as port:
        provider.url = f"http://127.0.0.1:{port}"
        try:
            yield provider
        finally:
            provider.over.set()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running() as made:
        yield made


@pytest.fixture
def source(provider: Provider, tmp_path: Path) -> Iterator[Source]:
    secret = tmp_path / "refresh-token"
    secret.touch(mode=0o600)
    secret.write_text("first")
    login = RefreshTokenSource(refresh_token_file=secret, token_endpoint=f"{provider.url}/token")
    cloud = CloudSettings(auth_url=f"{provider.url}/v3", source=login, project_id="p")
    store = open_store(STORES.url(tmp_path / "state.db"), "state")
    yield make_source(
        cloud, lambda: Vault(store, [b"k" * 32], "one", "me"), Revocations(store, "one")
    )
    store.dispose()


def test_the_limits_end_before_the_lease() -> None:
    """A connection that is being made when the limit ends sends nothing, and ends then."""
    assert LOGIN_TIMEOUT + CONNECT_TIMEOUT < LEASE


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_provider_that_drips_at_any_step_ends_with_the_limit(
    provider: Provider, source: Source, step: str
) -> None:
    provider.seconds = {step: math.inf}
    began = time.monotonic()
    with time_limit(LIMIT), pytest.raises(SourceError, match="the login takes too long in all"):
        source.fetch()
    assert time.monotonic() - began < LIMIT + 20  # the provider never answers
    provider.seconds = {}
    with time_limit(30.0):
        assert source.fetch().id == "t", "the lease is free again"


@pytest.mark.slow
def test_steps_of_which_none_is_too_slow_are_too_slow_together(
    provider: Provider, source: Source
) -> None:
    provider.seconds = dict.fromkeys(STEPS, 0.6 * LIMIT)
    with time_limit(LIMIT), pytest.raises(SourceError, match="the login takes too long in all"):
        source.fetch()
    assert STEPS[2] not in provider.seen


@pytest.mark.slow
def test_the_end_of_a_login_has_the_limit_of_its_lease(
    provider: Provider, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tokens revoke` looks for the provider's document in each folder, under the same lease."""
    source.fetch()
    monkeypatch.setattr(vault, "_CALLS", LIMIT / LEASE)
    provider.seconds = {DISCOVERY: math.inf}
    began = time.monotonic()
    left = source.revoke([])
    assert "the login takes too long in all" in left[0]
    assert time.monotonic() - began < LIMIT + 20  # the provider never answers


@pytest.mark.slow
def test_the_token_service_sets_the_limit(
    provider: Provider, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "LOGIN_TIMEOUT", LIMIT)
    provider.seconds = {STEPS[1]: math.inf}
    answers: list[Any] = []
    served = Issuer("one", source, alarm=lambda *_: None, longest_wait=30.0)
    served.request(None, answers.append)
    served.close()
    assert isinstance(answers[0], TokenRefusal)
    assert "the login takes too long in all" in answers[0].message
    assert time_left() == math.inf


def test_nothing_is_sent_once_the_time_is_over(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the resolver, or a host with many addresses, has taken the time."""
    with time_limit(0.0), pytest.raises(SourceError, match="too long"):
        Http(None).post(f"{provider.url}/token", form={"refresh_token": "secret"})
    real = foreign.bounded_session

    def slow_to_connect(*of: Any, until: float, **how: Any) -> Any:  # noqa: ANN401 - its own
        session = real(*of, until=time.monotonic(), **how)
        assert until > time.monotonic()
        return session

    monkeypatch.setattr(transport, "bounded_session", slow_to_connect)
    with time_limit(30.0), pytest.raises(SourceError, match="does not respond"):
        Http(None).post(f"{provider.url}/token", form={"refresh_token": "secret"})
    assert provider.seen == []
