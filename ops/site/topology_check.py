"""Compares the broker with the topology: over the management API, or by existence only."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

from ops.site.held import (
    Held,
    HeldBinding,
    HeldExchange,
    HeldPermission,
    HeldQueue,
    HeldTopicPermission,
    HeldUser,
)
from ops.site.management import ManagementApi
from producers.broker_settings import BrokerUsers
from schemas.roles import Role
from workers.broker.blocking import broker_errors
from workers.broker.definitions import tags as tags_of
from workers.broker.roles import permissions
from workers.broker.topology import EVENTS, NOTIFY_QUEUE, TOKEN_REPLIES, Topology
from workers.errors import NotDeclaredError


class _Reader(Protocol):
    """The management API, or what shows the same."""

    def read(self, path: str, shape: type[Held]) -> list[Held]:
        """The things in a list; for `{vhost}` in the path, the virtual host is read."""


_MEMBERS = 3
_KINDS = ("configure", "write", "read")


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


def differences(api: ManagementApi, wanted: Topology) -> list[str]:
    """The differences, by the management API, whose user needs the tag `management`; BrokerError as `api`."""
    return [
        *_exchanges(api.read("exchanges/{vhost}", HeldExchange), wanted),
        *_queues(api.read("queues/{vhost}", HeldQueue), wanted, api.nodes()),
        *binding_differences(api, wanted),
    ]


def _exchanges(held: list[HeldExchange], wanted: Topology) -> Iterator[str]:
    by_name = {exchange.name: exchange for exchange in held}
    for exchange in wanted.exchanges:
        found = by_name.get(exchange.name)
        yield from _durability(f"exchange {exchange.name}", found)
        if found is not None and found.type != exchange.type:
            yield f"exchange {exchange.name}: type is {found.type}, should be {exchange.type}"
        if found is not None:
            # an alternate exchange takes what no queue takes, and its sender does not hear of it
            yield from _changes(f"exchange {exchange.name}", {}, found)


def _queues(held: list[HeldQueue], wanted: Topology, nodes: Collection[str]) -> Iterator[str]:
    by_name = {queue.name: queue for queue in held}
    # a user who may not list the nodes sees those that hold a queue
    nodes = nodes or {node for queue in held for node in queue.members or ()}
    for queue in wanted.queues:
        found = by_name.get(queue.name)
        yield from _durability(f"queue {queue.name}", found)
        if found is not None:
            yield from _changes(f"queue {queue.name}", queue.arguments, found)
            yield from _members(found, nodes)


def _members(queue: HeldQueue, nodes: Collection[str]) -> Iterator[str]:
    """A quorum queue that too few nodes of the cluster hold, or of which too few are running.

    RabbitMQ puts a new queue on three nodes, if there are as many, and never on more by itself.
    """
    name, members, online = queue.name, queue.members, queue.online
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


def _changes(
    what: str, wanted: Mapping[str, object], found: HeldExchange | HeldQueue
) -> Iterator[str]:
    for name in sorted({*wanted, *found.arguments}):
        should, has = wanted.get(name), found.arguments.get(name)
        if should != has:
            yield f"{what}: {name} is {has}, should be {should}"
    if found.policy:
        yield f"{what}: policy {found.policy} changes it; remove the policy"


def _durability(what: str, found: HeldExchange | HeldQueue | None) -> Iterator[str]:
    if found is None:
        yield f"{what}: missing"
    elif not found.durable:
        yield f"{what}: is not durable"


def binding_differences(api: _Reader, wanted: Topology) -> Iterator[str]:
    """Bindings that are missing, and those that take messages elsewhere; errors as those of `api`."""
    held = api.read("bindings/{vhost}", HeldBinding)
    has = {(b.source, b.destination, b.routing_key) for b in held}
    for binding in wanted.bindings:
        if (binding.exchange, binding.queue, binding.key) not in has:
            yield f"binding {binding.exchange} -> {binding.queue} by {binding.key!r}: missing"
    ours = {exchange.name for exchange in wanted.exchanges}
    should = {(b.exchange, b.queue, b.key) for b in wanted.bindings}
    # a foreign queue on our exchange would hide that a command reaches no work queue
    for source, destination, key in sorted(has - should):
        # harmless: a binding for a webhook of another host, or for a former webhook; a client's own
        harmless = (source, destination) == (EVENTS, NOTIFY_QUEUE) or source == TOKEN_REPLIES
        if source in ours and not harmless:
            yield f"binding {source} -> {destination} by {key!r}: should not be there"


def user_differences(api: _Reader, users: BrokerUsers, wanted: Topology) -> Iterator[str]:
    """Users and permissions that are not as the roles need; for an administrator. Errors as `differences`."""
    held = {user.name: user.tags for user in api.read("users", HeldUser)}
    should = _wanted_access(users, wanted)
    ours = {user for user, _ in should}
    has = {(name, "tags"): ", ".join(sorted(tags)) for name, tags in held.items() if name in ours}
    for one in api.read("vhosts/{vhost}/permissions", HeldPermission):
        has |= {(one.user, kind): getattr(one, kind) for kind in _KINDS}
    for topics in api.read("vhosts/{vhost}/topic-permissions", HeldTopicPermission):
        has[topics.user, f"topics of {topics.exchange}"] = f"{topics.write} {topics.read}"
    missing = ours - held.keys()
    for name in sorted(missing):
        yield f"user {name}: missing; run: lamplighter broker users --apply"
    others = {name for name, tags in held.items() if "administrator" in tags} - ours
    for name, what in sorted(has.keys() | should.keys()):
        found, right = has.get((name, what)), should.get((name, what))
        if found != right and name not in missing | others:
            yield f"user {name}: {what} is {found or 'none'}, should be {right or 'none'}"


def _wanted_access(users: BrokerUsers, wanted: Topology) -> dict[tuple[str, str], str]:
    """By user and subject: tags, permissions, and topic permissions (write, read)."""
    should: dict[tuple[str, str], str] = {}
    for role in Role:
        name, one = users.name(role), permissions(role, users, wanted)
        should[name, "tags"] = ", ".join(tags_of(role))
        should |= {(name, kind): getattr(one, kind) for kind in _KINDS}
        should |= {(name, f"topics of {e}"): " ".join(both) for e, both in one.topics.items()}
    return should
