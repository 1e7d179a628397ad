"""Compares the broker with the topology: over the management API, or by existence only."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests

from producers.reasons import connection_reason
from producers.settings import BrokerSettings
from workers.broker.blocking import broker_errors
from workers.broker.topology import EVENTS, NOTIFY_QUEUE, Topology
from workers.errors import BrokerAwayError, NotDeclaredError

_SECONDS = 15.0


def missing(channel: Any, wanted: Topology) -> list[str]:  # noqa: ANN401 - pika has no types
    """The exchanges and queues that do not exist. A passive declare ignores types and arguments."""
    connection = channel.connection
    found = []
    for kind, name in (
        *(("exchange", exchange.name) for exchange in wanted.exchanges),
        *(("queue", queue.name) for queue in wanted.queues),
    ):
        probe = connection.channel()
        try:
            with broker_errors():
                if kind == "exchange":
                    probe.exchange_declare(exchange=name, passive=True)
                else:
                    probe.queue_declare(queue=name, passive=True)
                probe.close()
        except NotDeclaredError:
            found.append(f"{kind} {name}: missing")
    return found


def differences(broker: BrokerSettings, management_url: str, wanted: Topology) -> list[str]:
    """The differences, read over the management API of RabbitMQ.

    The user of broker.url needs the tag `management`.

    Raises:
        BrokerAwayError: the API is unavailable or refuses.
    """
    held = _lister(broker, management_url)
    return [
        *_exchanges(held("exchanges"), wanted),
        *_queues(held("queues"), wanted),
        *_bindings(held("bindings"), wanted),
    ]


def _exchanges(held: list[dict[str, Any]], wanted: Topology) -> Iterator[str]:
    by_name = {exchange["name"]: exchange for exchange in held}
    for exchange in wanted.exchanges:
        found = by_name.get(exchange.name)
        yield from _durability(f"exchange {exchange.name}", found)
        if found is not None and found["type"] != exchange.type:
            yield f"exchange {exchange.name}: type is {found['type']}, should be {exchange.type}"


def _queues(held: list[dict[str, Any]], wanted: Topology) -> Iterator[str]:
    by_name = {queue["name"]: queue for queue in held}
    for queue in wanted.queues:
        found = by_name.get(queue.name)
        yield from _durability(f"queue {queue.name}", found)
        if found is None:
            continue
        arguments = found["arguments"]
        for name in sorted({*queue.arguments, *arguments}):
            should, has = queue.arguments.get(name), arguments.get(name)
            if should != has:
                yield f"queue {queue.name}: {name} is {has}, should be {should}"
        if found.get("policy"):
            yield f"queue {queue.name}: policy {found['policy']} changes it; remove the policy"


def _durability(what: str, found: dict[str, Any] | None) -> Iterator[str]:
    if found is None:
        yield f"{what}: missing"
    elif not found["durable"]:
        yield f"{what}: is not durable"


def _bindings(held: list[dict[str, Any]], wanted: Topology) -> Iterator[str]:
    has = {(b["source"], b["destination"], b["routing_key"]) for b in held}
    for binding in wanted.bindings:
        if (binding.exchange, binding.queue, binding.key) not in has:
            yield f"binding {binding.exchange} -> {binding.queue} by {binding.key!r}: missing"
    ours = {exchange.name for exchange in wanted.exchanges}
    should = {(b.exchange, b.queue, b.key) for b in wanted.bindings}
    # a foreign queue on our exchange would hide that a command reaches no work queue
    for source, destination, key in sorted(has - should):
        # a binding for a webhook of another host, or for a former webhook, is harmless
        harmless = (source, destination) == (EVENTS, NOTIFY_QUEUE)
        if source in ours and not harmless:
            yield f"binding {source} -> {destination} by {key!r}: should not be there"


def _lister(broker: BrokerSettings, management_url: str) -> Callable[[str], list[dict[str, Any]]]:
    """Lists all objects of a kind in the virtual host."""
    parts = urlsplit(broker.full_url())
    vhost = quote(unquote(parts.path[1:]) or "/", safe="")
    root = management_url.rstrip("/")
    session = requests.Session()
    session.trust_env = False  # no proxies and no .netrc: this is our own broker
    session.auth = (unquote(parts.username or "guest"), unquote(parts.password or ""))
    if broker.ca_file is not None:
        session.verify = str(broker.ca_file)

    def list_(kind: str) -> list[dict[str, Any]]:
        try:
            answer = session.get(f"{root}/api/{kind}/{vhost}", timeout=_SECONDS)
            answer.raise_for_status()
            held: list[dict[str, Any]] = answer.json()
        except requests.RequestException as error:
            field = "broker.management_url"
            reason = connection_reason(error, root, field, "broker.ca_file")
            raise BrokerAwayError(
                f"management API at {root}: {reason or type(error).__name__}: "
                "check broker.management_url, and that the user has the tag `management`"
            ) from None
        return held

    return list_
