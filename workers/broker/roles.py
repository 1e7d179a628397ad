"""What each role may say, read and configure at the broker: the only place that states it. Pure.

The permissions at the broker (`lamplighter broker users`) and the check of every delivery
(workers/broker/authority.py) follow from it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from producers.broker_settings import BrokerUsers
from schemas.commands import Kind
from schemas.events import Transition
from schemas.jobs import JobTransition
from schemas.registrations import ROUTING_KEY as REGISTERED
from schemas.roles import Role
from schemas.snapshot import ROUTING_KEY as SNAPSHOT
from workers.broker.topology import (
    AUDIT_QUEUE,
    COMMANDS,
    DEAD_LETTER_QUEUE,
    DEAD_LETTERS,
    EVENTS,
    FEEDBACK_QUEUE,
    NOTIFY_AGAIN,
    NOTIFY_QUEUE,
    PROBE_KEY,
    QUARANTINE,
    REPLY_TO,
    REQUEUE,
    RESUME_QUEUE,
    RETRY_TIERS,
    SNAPSHOT_QUEUE,
    SNAPSHOTS,
    SUSPEND_QUEUE,
    TOKEN_KEY,
    TOKEN_QUEUE,
    TOKEN_REPLIES,
    TOKENS,
    Topology,
)

# The alarms about messages that their sender may not say, and about outcomes that contradict.
NOT_ALLOWED = "alarm.not_allowed"
AUDIT_CONFLICT = "alarm.audit_conflict"
# In a table of keys: any key, because the exchange does not route by it.
ANY = "*"

_ALL_COMMANDS = frozenset(kind.routing_key for kind in Kind)
_OF_HOOKS = frozenset(k.routing_key for k in (Kind.RESUME, Kind.SUSPEND, Kind.RESUME_FAIL))
_OF_RESYNC = frozenset(k.routing_key for k in (Kind.RESUME, Kind.SUSPEND))
_OF_OPERATORS = {Transition.REPLAYED, Transition.DISCARDED}
# of a round that no worker ended, because the broker gave up the delivery
_ENDED_BY_BROKER = Transition.FAILED.routing_key
_OF_POWER = frozenset(t.routing_key for t in Transition if t not in _OF_OPERATORS)
_DECISIONS = frozenset(
    {
        *(transition.routing_key for transition in _OF_OPERATORS),
        *("message.replayed", "message.discarded"),
        *(_ENDED_BY_BROKER, NOT_ALLOWED),
    }
)
_HOLDS = frozenset({"hold.placed", "hold.released"})


@dataclass(frozen=True, slots=True)
class Authority:
    """What a role may do at the broker.

    Attributes:
        says: the routing keys that it may publish with, by exchange.
        reads: the queues that it may consume.
        asks: whether it has a queue of its own for the token service's replies.
        fetches: whether the token service gives it tokens, not only reports.
        configures: whether it may create and delete exchanges, queues and bindings.
    """

    says: Mapping[str, Collection[str]] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    asks: bool = False
    fetches: bool = False
    configures: bool = False


def _worker(
    queues: tuple[str, ...],
    events: Collection[str],
    says: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Authority:
    """A worker that consumes these queues, and may quarantine what should not be in them."""
    letters = {*says.get(DEAD_LETTERS, ()), *(f"{QUARANTINE}.{queue}" for queue in queues)}
    said = {**says, EVENTS: {*events, NOT_ALLOWED}, DEAD_LETTERS: letters}
    return Authority(said, queues)


_POWER = _worker(
    (RESUME_QUEUE, SUSPEND_QUEUE),
    {*_OF_POWER, "alarm.request_refused", "message.rejected"},
    {DEAD_LETTERS: _ALL_COMMANDS, TOKENS: {TOKEN_KEY}, **dict.fromkeys(RETRY_TIERS, (ANY,))},
)
AUTHORITIES: Mapping[Role, Authority] = {
    Role.HOOK: Authority({COMMANDS: _OF_HOOKS}),
    Role.RELAY: Authority({COMMANDS: _OF_HOOKS}),
    Role.POWER: Authority(_POWER.says, _POWER.reads, asks=True, fetches=True),
    Role.TOKENS: Authority(
        {EVENTS: {"alarm.token", NOT_ALLOWED}, TOKEN_REPLIES: {ANY}}, (TOKEN_QUEUE,)
    ),
    Role.SLURM: _worker(
        (FEEDBACK_QUEUE,),
        {JobTransition.IDENTIFIED.routing_key, JobTransition.FAILED.routing_key, "group.dry_run"},
    ),
    Role.SNAPSHOT: Authority(
        {
            SNAPSHOTS: {SNAPSHOT},
            EVENTS: {
                REGISTERED,
                *(one.routing_key for one in JobTransition if one is not JobTransition.FAILED),
            },
        }
    ),
    Role.RESYNC: _worker(
        (SNAPSHOT_QUEUE,),
        {"alarm.drift", "alarm.cloud_doubted", "alarm.no_snapshot"},
        {COMMANDS: _OF_RESYNC},
    ),
    Role.AUDIT: Authority({EVENTS: {NOT_ALLOWED, AUDIT_CONFLICT}}, (AUDIT_QUEUE,)),
    Role.NOTIFY: _worker((NOTIFY_QUEUE,), {"message.undelivered"}, {DEAD_LETTERS: {NOTIFY_AGAIN}}),
    Role.CONSOLE: Authority(
        {EVENTS: _DECISIONS | _HOLDS, REQUEUE: {*_OF_HOOKS, NOTIFY_AGAIN}, TOKENS: {TOKEN_KEY}},
        (DEAD_LETTER_QUEUE,),
        asks=True,
    ),
    Role.OPERATOR: Authority(
        {
            COMMANDS: _ALL_COMMANDS | {PROBE_KEY},
            EVENTS: {*(_DECISIONS | _HOLDS), *("group.image_unset", "clock.reset")},
            REQUEUE: {*_ALL_COMMANDS, NOTIFY_AGAIN},
            TOKENS: {TOKEN_KEY},
        },
        (DEAD_LETTER_QUEUE,),
        asks=True,
        fetches=True,
    ),
    Role.READER: Authority({TOKENS: {TOKEN_KEY}}, asks=True),
    Role.SETUP: Authority(configures=True),
}


def may_say(role: Role, exchange: str, key: str) -> bool:
    """Whether a role may publish on this exchange with this routing key."""
    keys = AUTHORITIES[role].says.get(exchange, ())
    return key in keys or ANY in keys


def may_consume(role: Role, queue: str) -> bool:
    """Whether a role may consume this queue; who may create queues reads those that dead-letter."""
    authority = AUTHORITIES[role]
    return queue in authority.reads or (authority.configures and queue in RETRY_TIERS)


@dataclass(frozen=True, slots=True)
class Permissions:
    """A user's permissions in the virtual host, as RabbitMQ's regular expressions.

    Attributes:
        topics: what the user may write with and bind, (write, read) by topic exchange.
    """

    configure: str
    write: str
    read: str
    topics: Mapping[str, tuple[str, str]]


def permissions(role: Role, users: BrokerUsers, wanted: Topology) -> Permissions:
    """The smallest permissions with which the role can do its part.

    To bind a queue is to write to the queue and to read from the exchange; to publish to a queue is
    to write to the default exchange, which no role may (rabbitmq.com/docs/access-control).
    """
    authority = AUTHORITIES[role]
    topics = [exchange.name for exchange in wanted.exchanges if exchange.type == "topic"]
    if authority.configures:
        exchanges = [exchange.name for exchange in wanted.exchanges]
        queues = [queue.name for queue in wanted.queues]
        # to declare a queue that dead-letters is to read from it, and to write to the exchange
        letters = {q.name: q.arguments.get("x-dead-letter-exchange") for q in wanted.queues}
        targets = [str(exchange) for exchange in letters.values() if exchange]
        return Permissions(
            configure=_pattern((*exchanges, *queues)),
            write=_pattern((*queues, *targets)),
            read=_pattern((*exchanges, *(queue for queue in letters if letters[queue]))),
            topics=dict.fromkeys(topics, (_NOTHING, ".*")),
        )
    own = [reply_prefix(users.name(role))] if authority.asks else []
    return Permissions(
        configure=_pattern((), own),
        write=_pattern(authority.says, own),
        read=_pattern((*authority.reads, *([TOKEN_REPLIES] if authority.asks else ())), own),
        topics={
            name: (_pattern(sorted(authority.says[name])), _NOTHING)
            for name in topics
            if name in authority.says
        },
    )


def reply_prefix(user: str) -> str:
    """How the names of this user's own queues for replies begin."""
    return f"{REPLY_TO}.{user}."


# RabbitMQ reads an empty pattern as this one.
_NOTHING = "^$"


def _pattern(names: Iterable[str], prefixes: Iterable[str] = ()) -> str:
    """A pattern of exactly these names, and of all that begins with one of these prefixes."""
    exact = [_literal(name) for name in dict.fromkeys(names)]
    parts = [*exact, *(f"{_literal(prefix)}.*" for prefix in prefixes)]
    return f"^({'|'.join(parts)})$" if parts else _NOTHING


def _literal(name: str) -> str:
    """The pattern of a name; only dots in our names mean something to it."""
    return name.replace(".", r"\.")
