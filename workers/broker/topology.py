"""The broker's topology, declared here and nowhere else; portable from RabbitMQ 3.10 to 4.x.

Why each argument is as it is: docs/adr/0003-broker-topology.md.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

COMMANDS = "power.commands"
REQUEUE = "power.requeue"
DEAD_LETTERS = "power.dlx"
EVENTS = "power.events"
SNAPSHOTS = "slurm.snapshots"
TOKENS = "tokens"

RESUME_QUEUE = "power.resume"
SUSPEND_QUEUE = "power.suspend"
DEAD_LETTER_QUEUE = "power.dlq"
AUDIT_QUEUE = "audit"
FEEDBACK_QUEUE = "slurm.events"
NOTIFY_QUEUE = "notify"
SNAPSHOT_QUEUE = "resync"
TOKEN_QUEUE = "token.rpc"  # noqa: S105 - a queue's name
TOKEN_KEY = "token.requested"  # noqa: S105 - a routing key

# What Slurm may have to hear of.
FEEDBACK_KEYS = ("node.request.completed", "node.request.failed", "node.request.parked")

# What people may have to hear of; webhooks add what else they ask for.
NOTIFY_KEYS = ("node.request.failed", "job.failed", "alarm.#")
# Of a notification that an operator sends again; it comes back through power.requeue.
NOTIFY_AGAIN = "notify.again"

# Name of the exchange and queue -> seconds a request rests there.
RETRY_TIERS: Mapping[str, int] = {
    "power.retry.5s": 5,
    "power.retry.30s": 30,
    "power.retry.2m": 120,
    "power.retry.10m": 600,
}

_SAFE: Mapping[str, str | int] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    # at-least-once silently becomes at-most-once with the default drop-head
    "x-overflow": "reject-publish",
    "x-max-length": 1_000_000,
}
_QUORUM: Mapping[str, str | int] = {"x-queue-type": "quorum"}
_SINGLE: Mapping[str, str | int | bool] = {**_QUORUM, "x-single-active-consumer": True}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: Literal["topic", "fanout", "direct"]


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue and its arguments."""

    name: str
    arguments: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of `exchange` with `key` reach `queue`."""

    exchange: str
    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def topology(
    rests: Mapping[str, float] = RETRY_TIERS, notify_keys: Collection[str] = ()
) -> Topology:
    """What one virtual host, hence one Slurm cluster, holds.

    Args:
        rests: seconds by retry tier; only a test that will not wait has others.
        notify_keys: what the site's webhooks ask for (Settings.notify_keys).
    """
    notify = dict.fromkeys((*NOTIFY_KEYS, *notify_keys))
    work = {
        **_SAFE,
        "x-dead-letter-exchange": DEAD_LETTERS,
        # a poison guard only: lost connections count toward it too
        "x-delivery-limit": 1000,
    }
    work_keys = (
        (RESUME_QUEUE, "node.resume.requested"),
        (SUSPEND_QUEUE, "node.suspend.requested"),
        (SUSPEND_QUEUE, "node.resume_fail.reported"),
        # what an operator asks has time, as suspends have
        (SUSPEND_QUEUE, "node.deploy.requested"),
        (SUSPEND_QUEUE, "node.retire.requested"),
        (SUSPEND_QUEUE, "node.adopt.requested"),
        (SUSPEND_QUEUE, "node.bake.requested"),
    )
    tiers = tuple(
        Queue(
            name,
            {**_SAFE, "x-dead-letter-exchange": REQUEUE, "x-message-ttl": int(seconds * 1000)},
        )
        for name, seconds in rests.items()
    )
    return Topology(
        exchanges=(
            Exchange(COMMANDS, "topic"),
            Exchange(REQUEUE, "topic"),
            *(Exchange(name, "fanout") for name in RETRY_TIERS),
            Exchange(DEAD_LETTERS, "topic"),
            Exchange(EVENTS, "topic"),
            Exchange(SNAPSHOTS, "topic"),
            Exchange(TOKENS, "direct"),
        ),
        queues=(
            Queue(RESUME_QUEUE, work),
            Queue(SUSPEND_QUEUE, work),
            *tiers,
            # the default limit destroys messages that operators look at; -1 destroys them at once
            Queue(DEAD_LETTER_QUEUE, {**_QUORUM, "x-delivery-limit": 1_000_000}),
            # no dead-letter exchange: the audit also reads what is dead, which would loop for ever
            Queue(AUDIT_QUEUE, {**_SINGLE, "x-delivery-limit": 1_000_000}),
            # what is said of one node is said in order
            Queue(FEEDBACK_QUEUE, {**_SINGLE, "x-delivery-limit": 1_000_000}),
            # a full queue with reject-publish would refuse every worker's events
            Queue(NOTIFY_QUEUE, {**_QUORUM, "x-max-length": 100_000, "x-overflow": "drop-head"}),
            # only the newest is of use; a large cluster's has several parts
            Queue(SNAPSHOT_QUEUE, {**_SINGLE, "x-max-length": 100, "x-overflow": "drop-head"}),
            Queue(TOKEN_QUEUE, {**_SINGLE, "x-message-ttl": 10_000}),
        ),
        bindings=(
            *(Binding(e, q, key) for e in (COMMANDS, REQUEUE) for q, key in work_keys),
            *(Binding(name, name, "") for name in RETRY_TIERS),
            Binding(DEAD_LETTERS, DEAD_LETTER_QUEUE, "#"),
            Binding(EVENTS, AUDIT_QUEUE, "#"),
            *(Binding(EVENTS, FEEDBACK_QUEUE, key) for key in FEEDBACK_KEYS),
            *(Binding(EVENTS, NOTIFY_QUEUE, key) for key in notify),
            Binding(REQUEUE, NOTIFY_QUEUE, NOTIFY_AGAIN),
            Binding(SNAPSHOTS, SNAPSHOT_QUEUE, "slurm.snapshot.taken"),
            Binding(TOKENS, TOKEN_QUEUE, TOKEN_KEY),
        ),
    )


class Channel(Protocol):
    """What declaring needs of a channel; pika's BlockingChannel has it."""

    def exchange_declare(self, *, exchange: str, exchange_type: str, durable: bool) -> object:
        """Declare an exchange."""

    def queue_declare(
        self, *, queue: str, durable: bool, arguments: Mapping[str, str | int | bool]
    ) -> object:
        """Declare a queue."""

    def queue_bind(self, *, exchange: str, queue: str, routing_key: str) -> object:
        """Bind a queue to an exchange."""


def apply(channel: Channel, wanted: Topology) -> None:
    """Declare everything; what is there already and equal stays as it is."""
    for exchange in wanted.exchanges:
        channel.exchange_declare(exchange=exchange.name, exchange_type=exchange.type, durable=True)
    for queue in wanted.queues:
        channel.queue_declare(queue=queue.name, durable=True, arguments=queue.arguments)
    for binding in wanted.bindings:
        channel.queue_bind(exchange=binding.exchange, queue=binding.queue, routing_key=binding.key)
