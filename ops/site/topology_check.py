"""Compares the broker with the topology: over the management API, or by existence only."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests

from producers.reasons import connection_reason
from producers.settings import BrokerSettings
from workers.broker.blocking import broker_errors
from workers.broker.topology import EVENTS, NOTIFY_QUEUE, Topology
from workers.errors import BrokerAwayError, NotDeclaredError
from workers.process.foreign import UnreadableError, bounded_session, read_json

_SECONDS = 5.0
_MEMBERS = 3


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


def differences(
    broker: BrokerSettings, management_urls: Sequence[str], wanted: Topology
) -> list[str]:
    """The differences, read over the management API of RabbitMQ, at the first URL that answers.

    The user of broker.url needs the tag `management`.

    Raises:
        BrokerAwayError: the API is unavailable or refuses.
    """
    problems = []
    for url in management_urls:
        api = _Api(broker, url)
        try:
            return [
                *_exchanges(api.objects("exchanges"), wanted),
                *_queues(api.objects("queues"), wanted, api.nodes()),
                *_bindings(api.objects("bindings"), wanted),
            ]
        except BrokerAwayError as error:
            problems.append(str(error))
    raise BrokerAwayError("; ".join(problems))


def _exchanges(held: list[dict[str, Any]], wanted: Topology) -> Iterator[str]:
    by_name = {exchange["name"]: exchange for exchange in held}
    for exchange in wanted.exchanges:
        found = by_name.get(exchange.name)
        yield from _durability(f"exchange {exchange.name}", found)
        if found is not None and found["type"] != exchange.type:
            yield f"exchange {exchange.name}: type is {found['type']}, should be {exchange.type}"


def _queues(held: list[dict[str, Any]], wanted: Topology, nodes: Collection[str]) -> Iterator[str]:
    by_name = {queue["name"]: queue for queue in held}
    # a user who may not list the nodes sees those that hold a queue
    nodes = nodes or {node for queue in held for node in queue.get("members", ())}
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
        yield from _members(found, nodes)


def _members(queue: dict[str, Any], nodes: Collection[str]) -> Iterator[str]:
    """A quorum queue that too few nodes of the cluster hold, or of which too few are running.

    RabbitMQ puts a new queue on three nodes, if there are so many, and never on more by itself.
    """
    name, members, online = queue["name"], queue.get("members"), queue.get("online")
    if not members:  # not a quorum queue, as its arguments say
        return
    if online is None or len(online) * 2 <= len(members):
        yield (
            f"queue {name}: no quorum: {len(online or ())} of its {len(members)} nodes answer; "
            "start the others"
        )
    if len(members) < min(_MEMBERS, len(nodes)):
        absent = sorted(set(nodes) - set(members))
        yield (
            f"queue {name}: is on {len(members)} of {len(nodes)} nodes: run rabbitmq-queues grow "
            f"NODE all, for {', '.join(absent)}"
        )


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


class _Api:
    """Reads one node's management API; BrokerAwayError if it is unavailable or refuses."""

    def __init__(self, broker: BrokerSettings, url: str) -> None:
        parts = urlsplit(broker.full_urls()[0])
        self._vhost = quote(broker.vhost, safe="")
        self._user = broker.user
        self._root = url.rstrip("/")
        self._session = bounded_session(broker.ca_file, _SECONDS)
        self._session.trust_env = False  # no proxies and no .netrc: this is our own broker
        self._session.auth = (broker.user, unquote(parts.password or ""))
        if broker.cert_file is not None:
            self._session.cert = (str(broker.cert_file), str(broker.key_file))

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind in the virtual host."""
        status, held = self._get(f"{kind}/{self._vhost}")
        if status != requests.codes.ok:
            raise self._away(f"status {status}: {self._remedy(status)}")
        return held

    def nodes(self) -> set[str]:
        """The names of the cluster's nodes; none if the user lacks the tag `monitoring`."""
        status, held = self._get("nodes")
        return {node["name"] for node in held} if status == requests.codes.ok else set()

    def _get(self, path: str) -> tuple[int, list[dict[str, Any]]]:
        try:
            answer = self._session.get(f"{self._root}/api/{path}", timeout=_SECONDS)
            content = answer.content if answer.ok else b"[]"
            return answer.status_code, read_json(content, list[dict[str, Any]])
        except UnreadableError as error:
            raise self._away(f"{error}; check broker.management_url") from None
        except requests.RequestException as error:
            reason = connection_reason(error, self._root, "broker.management_url", "broker.ca_file")
            raise self._away(
                reason or f"{type(error).__name__}: check broker.management_url"
            ) from None

    def _remedy(self, status: int) -> str:
        if status == requests.codes.unauthorized:
            return (
                f"the login of user {self._user} is refused: correct broker.password_file, and give "
                "the user the tag `management`"
            )
        return "check broker.management_url, and that the user may use the virtual host"

    def _away(self, problem: str) -> BrokerAwayError:
        return BrokerAwayError(f"management API at {self._root}: {problem}")
