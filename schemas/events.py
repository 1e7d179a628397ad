"""What happened to a request: the steps of its rounds, published on exchange power.events."""

import enum
import uuid
from dataclasses import dataclass, field
from typing import Any

from schemas import ids
from schemas.commands import Kind, PowerCommand, WaitingJob
from schemas.envelope import Envelope
from schemas.fields import (
    ANY_TEXT,
    ATTRIBUTE,
    OPTIONAL_TEXT,
    TEXT,
    Fields,
    many,
    nested,
    number,
    read,
    to_data,
    wire,
)


class Transition(enum.StrEnum):
    """A step in a request's round."""

    ACCEPTED = "accepted"
    RETRIED = "retried"
    PARKED = "parked"
    REPLAYED = "replayed"
    COMPLETED = "completed"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    DISCARDED = "discarded"

    @property
    def terminal(self) -> bool:
        """Whether it ends the round; each round has exactly one terminal transition."""
        return self in _TERMINAL

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return f"node.request.{self}"

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"lamplighter.{self.routing_key}.v1"


_TERMINAL = frozenset(
    {Transition.COMPLETED, Transition.SUPERSEDED, Transition.FAILED, Transition.DISCARDED}
)
# Those that end a round, as stores hold them; and all by type.
ENDS = tuple(map(str, sorted(_TERMINAL)))
TRANSITIONS = {transition.type: transition for transition in Transition}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something failed: an error class (workers/clouds/errors.py) and a message."""

    error: str = field(metadata=TEXT)
    message: str = field(metadata=ANY_TEXT)

    def __str__(self) -> str:
        return f"{self.error}: {self.message}"


def _kind(data: Fields, name: str) -> Kind:
    try:
        return Kind(data.text(name))
    except ValueError:
        raise data.wrong(name, f"must be one of {', '.join(Kind)}") from None


_MOST_ROUNDS = 2**31 - 1
_KIND = wire(_kind, str)


@dataclass(frozen=True, slots=True)
class CloudAction:
    """A call that changed something in the cloud.

    Attributes:
        action: Nova's name for it (`os-start`).
        time: when the answer arrived, ns since the epoch.
        result: `done`, `dry_run` if the call was not made, or the error's class.
    """

    action: str = field(metadata=TEXT)
    server_id: str = field(metadata=TEXT)
    time: int = field(metadata=number())
    result: str = field(metadata=TEXT)


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A step in a request's round; times are ns since the epoch.

    Attributes:
        request_id, round: the request and its round, from 1; an operator's replay opens the next.
        kind, cluster, node, generation, correlation_id: copied from the request.
        attempt: the number of attempts that failed before.
        jobs, expiry, origin, note: copied from the command (origin and note only in `accepted`).
        cloud, server_id, address: where the node runs, once known.
        image_id: the image that was made of the node.
        cause: why, for retried, parked, failed and superseded.
        actions: the cloud actions of this round, in order.
        retry_in: seconds until the next delivery, for retried and parked.
        by, reason: the operator and their reason, for replayed and discarded.
        dry_run: whether nothing was done; then `actions` are the calls that would have come first.
        restamped: for discarded, the generation of the request that replaces it.
        sender: for accepted, the broker user that sent the request, as the broker validated it.
        id: derived: the same step has the same id, and all outcomes of a round share one.
    """

    transition: Transition
    request_id: str = field(metadata=ATTRIBUTE)
    round: int = field(metadata=number(least=1, most=_MOST_ROUNDS))
    kind: Kind = field(metadata=_KIND)
    cluster: str
    node: str
    generation: int
    correlation_id: str
    time: int
    attempt: int = field(default=0, metadata=number(most=_MOST_ROUNDS))
    jobs: tuple[WaitingJob, ...] = field(default=(), metadata=many(WaitingJob))
    expiry: int | None = None
    origin: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    note: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    cloud: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    server_id: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    address: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    image_id: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    cause: Cause | None = field(default=None, metadata=nested(Cause, required=False))
    actions: tuple[CloudAction, ...] = field(default=(), metadata=many(CloudAction))
    retry_in: int | None = field(default=None, metadata=number(required=False))
    by: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    reason: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    dry_run: bool = field(default=False, metadata=wire(Fields.flag, required=False))
    restamped: int | None = field(default=None, metadata=number(least=1, required=False))
    sender: str | None = field(default=None, metadata=OPTIONAL_TEXT)

    id: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        step = str(self.transition)
        if self.transition.terminal:
            step = "outcome"
        elif self.transition is Transition.RETRIED:
            step = f"retried/{self.attempt}"
        object.__setattr__(
            self, "id", str(uuid.uuid5(ids.NAMESPACE, f"{self.request_id}/{self.round}/{step}"))
        )

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return self.transition.routing_key

    @property
    def error(self) -> str:
        """The class of its cause; empty without one."""
        return self.cause.error if self.cause else ""

    def to_envelope(self) -> Envelope:
        """The message's envelope, without empty fields."""
        return Envelope.around(self, self.transition.type, self.node, to_data(self))


def transition_event(
    command: PowerCommand,
    transition: Transition,
    *,
    round_: int,
    time: int,
    attempt: int = 0,
    **more: Any,  # noqa: ANN401 - the fields' types
) -> RequestEvent:
    """The event of a step of `command`, with more fields; `accepted` has all of the command's."""
    whole = transition is Transition.ACCEPTED
    return RequestEvent(
        transition=transition,
        request_id=command.id,
        round=round_,
        kind=command.kind,
        cluster=command.cluster,
        node=command.node,
        generation=command.generation,
        correlation_id=command.correlation_id,
        time=time,
        attempt=attempt,
        jobs=command.jobs,
        expiry=command.expiry,
        origin=command.origin if whole else None,
        note=command.note if whole else None,
        **more,
    )


def event_from(envelope: Envelope) -> RequestEvent:
    """The request event in an envelope; raises MalformedMessageError, also for other types."""
    transition = TRANSITIONS.get(envelope.type)
    if transition is None:
        raise envelope.unknown_type("a request event")
    event = read(
        RequestEvent,
        Fields(envelope.data, "data."),
        transition=transition,
        cluster=envelope.source,
        node=envelope.node,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
        time=envelope.time,
        expiry=envelope.expiry,
    )
    envelope.check_id(matches=event.id == envelope.id, fields="request_id, round and step")
    return event
