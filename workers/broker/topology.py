"""The broker's topology: exchanges, queues and bindings, for RabbitMQ 3.10 to 4.x.

The reasons for each argument: docs/adr/0003-broker-topology.md.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from schemas.commands import Kind

COMMANDS = "power.commands"
REQUEUE = "power.requeue"
DEAD_LETTERS = "power.dlx"
EVENTS = "power.events"
SNAPSHOTS = "slurm.snapshots"
TOKENS = "tokens"
TOKEN_REPLIES = "tokens.replies"  # noqa: S105 - an exchange's name

RESUME_QUEUE = "power.resume"
SUSPEND_QUEUE = "power.suspend"
DEAD_LETTER_QUEUE = "power.dlq"
AUDIT_QUEUE = "audit"
FEEDBACK_QUEUE = "slurm.events"
NOTIFY_QUEUE = "notify"
SNAPSHOT_QUEUE = "resync"
TOKEN_QUEUE = "token.rpc"  # noqa: S105 - a queue's name
PROBE_KEY = "probe"  # reaches no queue
TOKEN_KEY = "token.requested"  # noqa: S105 - a routing key
# Stands for a link's own queue of replies; its name begins so, with the broker user after it.
REPLY_TO = "token.reply"

# Events that the slurm worker may report to Slurm.
FEEDBACK_KEYS = ("node.request.completed", "node.request.failed", "node.request.parked")

# For a notification that an operator replays; it returns through power.requeue.
NOTIFY_AGAIN = "notify.again"
# Before the queue's name: what it delivered, but its sender may not say.
QUARANTINE = "quarantine"

# Name of the exchange and queue -> seconds that a request waits there.
RETRY_TIERS: Mapping[str, int] = {
    "power.retry.5s": 5,
    "power.retry.30s": 30,
    "power.retry.2m": 120,
    "power.retry.10m": 600,
}

_SAFE: Mapping[str, str | int] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    # with the default, drop-head, RabbitMQ silently uses at-most-once
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
    """All exchanges, queues and bindings."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def topology(
    waits: Mapping[str, float] = RETRY_TIERS, notify_keys: Collection[str] = ()
) -> Topology:
    """The topology of one virtual host, which belongs to one Slurm cluster.

    `waits` are seconds by retry tier; only tests use other ones. `notify_keys` are the webhooks'
    routing keys (Settings.notify_keys).
    """
    work = {
        **_SAFE,
        "x-dead-letter-exchange": DEAD_LETTERS,
        # only against messages that crash workers: lost connections count too
        "x-delivery-limit": 1000,
    }
    # an operator's requests are as little urgent as suspends
    work_keys = [
        (RESUME_QUEUE if kind is Kind.RESUME else SUSPEND_QUEUE, kind.routing_key) for kind in Kind
    ]
    tiers = tuple(
        Queue(
            name,
            {**_SAFE, "x-dead-letter-exchange": REQUEUE, "x-message-ttl": int(seconds * 1000)},
        )
        for name, seconds in waits.items()
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
            # direct, not topic: who may bind a queue here must not receive all replies
            Exchange(TOKEN_REPLIES, "direct"),
        ),
        queues=(
            Queue(RESUME_QUEUE, work),
            Queue(SUSPEND_QUEUE, work),
            *tiers,
            # the default limit deletes messages that operators inspect often; -1 deletes them at once
            Queue(DEAD_LETTER_QUEUE, {**_QUORUM, "x-delivery-limit": 1_000_000}),
            # no dead-letter exchange: the audit reads dead letters too, which would loop
            Queue(AUDIT_QUEUE, {**_SINGLE, "x-delivery-limit": 1_000_000}),
            # the events of a node must be handled in order
            Queue(FEEDBACK_QUEUE, {**_SINGLE, "x-delivery-limit": 1_000_000}),
            # with reject-publish a full queue would refuse the events of all workers
            Queue(NOTIFY_QUEUE, {**_QUORUM, "x-max-length": 100_000, "x-overflow": "drop-head"}),
            # only the newest snapshot is useful; that of a large cluster has several parts
            Queue(SNAPSHOT_QUEUE, {**_SINGLE, "x-max-length": 100, "x-overflow": "drop-head"}),
            Queue(TOKEN_QUEUE, {**_SINGLE, "x-message-ttl": 10_000}),
        ),
        bindings=(
            *(Binding(e, q, key) for e in (COMMANDS, REQUEUE) for q, key in work_keys),
            *(Binding(name, name, "") for name in RETRY_TIERS),
            Binding(DEAD_LETTERS, DEAD_LETTER_QUEUE, "#"),
            Binding(EVENTS, AUDIT_QUEUE, "#"),
            *(Binding(EVENTS, FEEDBACK_QUEUE, key) for key in FEEDBACK_KEYS),
            # none without a webhook: nobody would read the queue
            *(Binding(EVENTS, NOTIFY_QUEUE, key) for key in dict.fromkeys(notify_keys)),
            Binding(REQUEUE, NOTIFY_QUEUE, NOTIFY_AGAIN),
            Binding(SNAPSHOTS, SNAPSHOT_QUEUE, "slurm.snapshot.taken"),
            Binding(TOKENS, TOKEN_QUEUE, TOKEN_KEY),
        ),
    )
