"""A redirect takes no secret to another place, whichever of our HTTP clients meets it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest

from ops.site.held import HeldQueue
from ops.site.management import ManagementApi
from producers.broker_settings import BrokerSettings
from tests.testbed.receiver import Receiver, Reply
from tests.unit.test_clouds_session import LOGIN, Session
from tests.unit.test_tokens_foreign import ENDPOINT, GOOD
from workers.config.groups import CloudSettings
from workers.config.webhooks import Webhook
from workers.errors import BrokerAwayError, LamplighterError
from workers.notify.http import WebhookClient
from workers.notify.webhook_request import WebhookRequest
from workers.process.redirects import followed
from workers.tokens.probe import probe
from workers.tokens.rpc import TokenGrant
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.tokens.client import TokenClient

SECRET = "the-secret-that-was-sent"


@pytest.mark.parametrize(
    ("url", "location", "to"),
    [
        ("https://k/v3", "https://k/v3/", "https://k/v3/"),
        ("https://k/v3", "https://K:443/a?b=c", "https://k:443/a?b=c"),
        ("https://k:5000/v3", "/other", "https://k:5000/other"),
        ("http://k:5000/v3", "https://k:5000/v3", "https://k:5000/v3"),
        ("http://k/v3", "https://k/v3", "https://k/v3"),
        ("https://k/v3", "http://k/v3", None),
        ("https://k/v3", "http://k:443/v3", None),
        ("https://k/v3", "https://k:8443/v3", None),
        ("https://k/v3", "https://k.evil.example/v3", None),
        ("https://k/v3", "//evil.example/v3", None),
        ("https://k/v3", "https://k@evil.example/", None),
        ("https://k/v3", "https://evil.example\\@k/", None),
        ("https://k/v3", "\t https://evil.example/", None),
        ("https://k/v3", "https://k:port/", None),
        ("https://k/v3", "https://[k/", None),
        ("https://k/v3", "file:///etc/passwd", None),
        ("http://k/v3", "https://evil.example/v3", None),
    ],
)
def test_only_the_same_place_or_its_https_is_followed(
    url: str, location: str, to: str | None
) -> None:
    assert followed(url, location) == to


class Tokens:
    """A token service with one token, whose catalog names one place."""

    def __init__(self, url: str) -> None:
        catalog = [{"type": "compute", "name": "nova", "endpoints": [ENDPOINT | {"url": url}]}]
        self.grant = TokenGrant(SECRET, {"token": GOOD | {"catalog": catalog}}, 100.0)

    def fetch(self, *_: object) -> TokenGrant:
        return self.grant


def power(url: str) -> None:
    session = Session(url)
    session.token.value = SECRET
    try:
        session.post()
    finally:
        session.close()


def tried(url: str) -> None:
    cloud = CloudSettings(auth_url=f"{url}/v3", project_id="p", source=LOGIN, region="R")
    result = probe(cast("TokenClient", Tokens(url)), "c", cloud, 5.0)
    assert "redirect" in (result.remedy or "")


def management(url: str) -> None:
    broker = BrokerSettings((f"amqp://me:{SECRET}@127.0.0.1/v",))
    with ManagementApi(broker, (url,), ("me", SECRET)) as api:
        with pytest.raises(BrokerAwayError, match=r"a redirect: set broker\.management_url"):
            api.read("queues", HeldQueue)
        api.load({"users": [{"password_hash": SECRET}]})


def notify(url: str) -> None:
    client = WebhookClient(Webhook(name="a", url=url, events=("failed",)))
    try:
        client.send(WebhookRequest({"content-type": "text/plain"}, SECRET.encode()), "id")
    finally:
        client.close()


CLIENTS: dict[str, Callable[[str], object]] = {
    "power worker": power,
    "tokens test": tried,
    "token service": lambda url: Http(None).post(url, form={"refresh_token": SECRET}),
    "token service's revocation": lambda url: Http(None).delete(url, {"X-Auth-Token": SECRET}),
    "management API": management,
    "webhook": notify,
}


@pytest.fixture
def places() -> Iterator[tuple[Receiver, Receiver]]:
    """A service, and the place that its redirects name."""
    with Receiver() as service, Receiver() as thief:
        yield service, thief


@pytest.mark.slow
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("name", CLIENTS)
def test_no_client_repeats_a_request_at_another_place(
    places: tuple[Receiver, Receiver], name: str, status: int
) -> None:
    service, thief = places
    there = {"location": f"{thief.url}/take", "content-type": "application/json"}
    service.answer = lambda _: Reply(status, json.dumps({}), there)
    with suppress(LamplighterError):
        CLIENTS[name](service.url)
    assert service.got, "the request was sent"
    assert any(SECRET in str((got.headers, got.body)) for got in service.got) or name.startswith(
        "management"  # in Base64
    )
    assert not thief.got


def test_the_power_worker_names_the_redirect_and_the_remedy(
    places: tuple[Receiver, Receiver],
) -> None:
    """It is no success, and not the request's fault: no dead letter."""
    service, thief = places
    service.answer = lambda _: Reply(307, headers={"location": thief.url})
    with pytest.raises(LamplighterError, match=r"redirects to another place .*ask the site"):
        power(service.url)
