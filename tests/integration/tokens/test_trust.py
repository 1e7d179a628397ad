"""Tests of who may request tokens, whose answers count, and that tokens are never stored."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from producers.amqp import connection_parameters
from producers.broker_settings import BrokerSettings
from producers.message import Message
from tests.testbed.broker import PrivateBroker
from tests.testbed.simcloud import credentials
from tests.testbed.token_site import TokenSite, serving
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.broker.link import Link
from workers.broker.topology import REPLY_TO
from workers.errors import BrokerAwayError, TokenRefusedError, TokenServiceAwayError
from workers.tokens.client import TokenClient
from workers.tokens.scoped import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker
    from tests.testbed.simcloud.handle import SimCloud
    from workers.broker.delivery import Delivery

# The minimal permissions in the vhost, for users made by hand.
SERVICE = {"write": r"^(tokens\.replies|power\.events)$", "read": r"^token\.rpc$"}
WORKER = {
    "configure": r"^token\.reply\..*$",
    "write": r"^(tokens|power\.events|token\.reply\..*)$",
    "read": r"^(tokens\.replies|token\.reply\..*)$",
}


@contextmanager
def raw_client(url: str) -> Iterator[Any]:
    """A client without checks: `request(...)` returns the JSON of the answer."""
    replies: list[Delivery] = []
    parameters = connection_parameters(BrokerSettings((url,)), "raw")
    link = Link(parameters, {REPLY_TO: 1}, replies.append)
    link.start()
    assert link.wait_up(10.0)

    def request(body: bytes, reply_to: str | None = REPLY_TO) -> dict[str, Any]:
        replies.clear()
        message = Message(topology.TOKENS, topology.TOKEN_KEY, body, "an id", reply_to=reply_to)
        link.publish(message).result(10.0)
        if reply_to != REPLY_TO:
            return {}
        answer: dict[str, Any] = json.loads(until(lambda: replies, 10.0, "a reply")[0].body)
        return answer

    try:
        yield request
    finally:
        link.stop()


def test_minimal_permissions_are_enough_for_service_and_worker(
    cloud: SimCloud, site: TokenSite, broker: Broker, vhost: str
) -> None:
    service = broker.add_user(f"service-{vhost}", "s", vhost, **SERVICE)
    worker = broker.add_user(f"worker-{vhost}", "w", vhost, **WORKER)
    clouds = {"one": site.password_cloud(cloud)}
    tokens: dict[str, object] = {"service_user": service.name, "allowed_users": [worker.name]}
    of_service = site.configure(clouds, tokens, broker.amqp_url(vhost, service))
    of_worker = site.configure(clouds, tokens, broker.amqp_url(vhost, worker))
    with serving(of_service), TokenClient(of_worker, "power") as client:
        assert client.fetch("one").token


def test_user_that_is_not_allowed_gets_no_token(
    cloud: SimCloud, site: TokenSite, broker: Broker, vhost: str
) -> None:
    stranger = broker.add_user(f"stranger-{vhost}", "s", vhost, **WORKER)
    clouds = {"one": site.password_cloud(cloud)}
    of_stranger = site.configure(
        clouds, {"service_user": broker.admin.name}, broker.amqp_url(vhost, stranger)
    )
    with serving(site.configure(clouds)), TokenClient(of_stranger, "stranger") as client:
        with pytest.raises(TokenRefusedError, match="allowed_users") as caught:
            client.fetch("one")
        assert (caught.value.error, caught.value.permanent) == ("not_allowed", True)


@pytest.mark.usefixtures("site")
def test_broker_refuses_requests_in_the_name_of_another_user(broker: Broker, vhost: str) -> None:
    stranger = broker.add_user(f"stranger-{vhost}", "s", vhost, **WORKER)
    parameters = connection_parameters(
        BrokerSettings((broker.amqp_url(vhost, stranger),)), "forger"
    )
    message = Message(topology.TOKENS, topology.TOKEN_KEY, b"{}", "an id")
    link = Link(parameters)
    link.start()
    try:
        assert link.wait_up(10.0)
        link.publish(message).result(10.0)
        link._user = broker.admin.name
        with pytest.raises(BrokerAwayError, match="the connection ended"):
            link.publish(message).result(10.0)
    finally:
        link.stop()


def test_answers_of_other_users_are_ignored(
    cloud: SimCloud, site: TokenSite, broker: Broker, vhost: str
) -> None:
    impostor = broker.add_user(f"impostor-{vhost}", "i", vhost, **SERVICE)
    settings = site.configure({"one": site.password_cloud(cloud)}, {"timeout": 2})
    seen: list[Delivery] = []

    def answer(delivery: Delivery) -> None:
        seen.append(delivery)
        body = b'{"answer": "granted", "token": "false", "body": {}, "hold": 1}'
        to, about = delivery.reply_to or "", delivery.correlation_id
        link.publish(Message(topology.TOKEN_REPLIES, to, body, "r", correlation_id=about))

    url = broker.amqp_url(vhost, impostor)
    parameters = connection_parameters(BrokerSettings((url,)), "impostor")
    link = Link(parameters, {topology.TOKEN_QUEUE: 1}, answer)
    link.start()
    try:
        with TokenClient(settings, "power") as client, pytest.raises(TokenServiceAwayError):
            client.fetch("one")
    finally:
        link.stop()
    assert seen
    (alarm,) = [json.loads(body) for _, body in site.drain(topology.AUDIT_QUEUE)]
    assert alarm["type"] == "lamplighter.alarm.not_allowed.v1"
    assert alarm["data"]["details"]["user"] == impostor.name


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"\xff\xfe", "malformed"),
        (b"[]", "malformed"),
        (b'{"cloud": 1}', "malformed"),
        (b'{"cloud": "one", "extra": 1}', "malformed"),
        (b'{"cloud": "two"}', "unknown_cloud"),
    ],
)
def test_invalid_request_is_refused_and_acknowledged(
    cloud: SimCloud, site: TokenSite, broker_url: str, body: bytes, error: str
) -> None:
    with serving(site.configure({"one": site.password_cloud(cloud)})):
        with raw_client(broker_url) as request:
            answer = request(body)
            assert (answer["answer"], answer["error"]) == ("refused", error)
            assert request(b'{"cloud": "one"}')["answer"] == "granted"
        assert site.depth(topology.TOKEN_QUEUE) == 0


@pytest.mark.parametrize("reply_to", [None, "a.queue", "token.reply.somebody.1"])
def test_token_is_never_sent_to_a_queue(
    cloud: SimCloud, site: TokenSite, broker_url: str, reply_to: str | None
) -> None:
    settings = site.configure({"one": site.password_cloud(cloud)})
    parameters = connection_parameters(settings.broker, "test queue")
    with blocking_channel(parameters) as channel:
        channel.queue_declare("a.queue", durable=True)
    with serving(settings), raw_client(broker_url) as request:
        request(b'{"cloud": "one"}', reply_to)
        # requests are answered in order: the first is done
        assert request(b'{"cloud": "one"}')["answer"] == "granted"
    assert site.depth("a.queue") == 0
    assert site.depth(topology.TOKEN_QUEUE) == 0


def test_client_that_has_gone_disturbs_no_other(cloud: SimCloud, site: TokenSite) -> None:
    settings = site.configure({"one": site.password_cloud(cloud)})
    link = Link(connection_parameters(settings.broker, "impatient"), {REPLY_TO: 1})
    link.start()
    try:
        assert link.wait_up(10.0)
        body = b'{"cloud": "one"}'
        link.publish(
            Message(topology.TOKENS, topology.TOKEN_KEY, body, "an id", reply_to=REPLY_TO)
        ).result(10.0)
    finally:
        link.stop()
    with serving(settings), TokenClient(settings, "power") as client:
        assert client.fetch("one").token
        site.wait_depth(topology.TOKEN_QUEUE, 0)


def test_broker_store_and_logs_contain_no_secret(cloud: SimCloud, run_dir: Path) -> None:
    """The service runs as a process; the broker is stopped, so its data is on disk."""
    with PrivateBroker(run_dir / "broker") as broker:
        vhost = broker.create_vhost()
        site = TokenSite(run_dir / "site", broker.amqp_url(vhost))
        site.prepare()
        first = cloud.mint_refresh_token()
        settings = site.configure(
            {
                "one": site.password_cloud(cloud),
                "two": site.application_credential_cloud(cloud),
                "three": site.refresh_token_cloud(cloud, first),
            }
        )
        with site.start("worker", "tokens") as service, TokenClient(settings, "power") as client:
            found = [client.fetch(name).token for name in ("one", "two", "three")]
            cloud.revoke_grants()
            cloud.revoke_tokens()
            with pytest.raises(TokenRefusedError):
                client.fetch("three", digest_of(found[2]))
            service.require_running()
        assert service.returncode == 0
        broker.stop()
        secrets = [
            *found,
            first,
            "sim-refresh-",
            "sim-access-",
            credentials.PASSWORD,
            credentials.APPLICATION_CREDENTIAL_SECRET,
        ]
        written = [
            path
            for folder in (broker.data_dir, site.folder)
            for path in folder.rglob("*")
            if path.is_file() and path.name not in {"password", "application-secret"}
        ]
        written += [broker.log, service.log]
        # proves that the scan reads logs and queues: the requests passed through a queue
        for seen in (b"token_obtained", b'{"cloud":"three"'):
            assert any(seen in path.read_bytes() for path in written)
        leaks = [
            (path.name, secret[:12])
            for path in written
            for secret in secrets
            if path.name != "refresh-token" and secret.encode() in path.read_bytes()
        ]
        assert not leaks
