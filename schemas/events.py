"""What happened to a request: the steps of its rounds, published on exchange power.events."""

import enum
from dataclasses import dataclass
from typing import Any

from schemas import ids
from schemas.commands import Kind, PowerCommand, WaitingJob, job_from
from schemas.envelope import Envelope
from schemas.fields import Fields, fit


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
_TRANSITIONS = {transition.type: transition for transition in Transition}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something failed: an error class (workers/clouds/errors.py) and a message."""

    error: str
    message: str

    def to_data(self) -> dict[str, str]:
        """The JSON object."""
        return {"error": self.error, "message": fit(self.message)}


def cause_from(fields: Fields) -> Cause:
    """A cause, from `Cause.to_data`.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    return Cause(fields.text("error"), fields.text("message", shortest=0))


@dataclass(frozen=True, slots=True)
class CloudAction:
    """A call that changed something in the cloud.

    Attributes:
        action: Nova's name for it (`os-start`).
        server_id: the server.
        time: when the answer arrived, ns since the epoch.
        result: `done`, `dry_run` if the call was not made, or the error's class.
    """

    action: str
    server_id: str
    time: int
    result: str

    def to_data(self) -> dict[str, Any]:
        """The JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A step in a request's round.

    Attributes:
        transition: the step.
        request_id, round: the request and its round, from 1; an operator's replay opens the next.
        kind, cluster, node, generation, correlation_id: copied from the request.
        time: ns since the epoch.
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
    """

    transition: Transition
    request_id: str
    round: int
    kind: Kind
    cluster: str
    node: str
    generation: int
    correlation_id: str
    time: int
    attempt: int = 0
    jobs: tuple[WaitingJob, ...] = ()
    expiry: int | None = None
    origin: str | None = None
    note: str | None = None
    cloud: str | None = None
    server_id: str | None = None
    address: str | None = None
    image_id: str | None = None
    cause: Cause | None = None
    actions: tuple[CloudAction, ...] = ()
    retry_in: int | None = None
    by: str | None = None
    reason: str | None = None
    dry_run: bool = False
    restamped: int | None = None

    @property
    def id(self) -> str:
        """Derived: the same step has the same id, and all outcomes of a round share one."""
        step = str(self.transition)
        if self.transition.terminal:
            step = "outcome"
        elif self.transition is Transition.RETRIED:
            step = f"retried/{self.attempt}"
        return ids.event_id(self.request_id, self.round, step)

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return self.transition.routing_key

    def to_envelope(self) -> Envelope:
        """The message's envelope, without empty fields."""
        data: dict[str, Any] = {
            "request_id": self.request_id,
            "round": self.round,
            "kind": str(self.kind),
            "attempt": self.attempt,
            "jobs": [job.to_data() for job in self.jobs],
            "actions": [action.to_data() for action in self.actions],
        }
        for name in _OPTIONAL_TEXTS:
            if text := getattr(self, name):
                data[name] = fit(text)
        if self.dry_run:
            data["dry_run"] = True
        if self.retry_in is not None:
            data["retry_in"] = self.retry_in
        if self.restamped is not None:
            data["restamped"] = self.restamped
        if self.cause is not None:
            data["cause"] = self.cause.to_data()
        return Envelope(
            id=self.id,
            source=self.cluster,
            type=self.transition.type,
            subject=self.node,
            time=self.time,
            generation=self.generation,
            correlation_id=self.correlation_id,
            traceparent=ids.traceparent(self.correlation_id, self.request_id),
            expiry=self.expiry,
            data=data,
        )


_OPTIONAL_TEXTS = ("origin", "note", "cloud", "server_id", "address", "image_id", "by", "reason")
_MOST_ROUNDS = 2**31 - 1


def transition_event(
    command: PowerCommand, transition: Transition, *, round_: int, time: int, attempt: int = 0
) -> RequestEvent:
    """The event of a step of `command`; `accepted` has all of the command's fields."""
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
    )


def event_from(envelope: Envelope) -> RequestEvent:
    """The request event in an envelope.

    Raises:
        MalformedMessageError: naming the field and the remedy; also for other types.
    """
    transition = _TRANSITIONS.get(envelope.type)
    if transition is None:
        raise envelope.unknown_type("a request event")
    node = envelope.node
    data = Fields(envelope.data, "data.")
    try:
        kind = Kind(data.text("kind"))
    except ValueError:
        raise data.wrong("kind", f"must be one of {', '.join(Kind)}") from None
    event = RequestEvent(
        transition=transition,
        request_id=data.attribute("request_id"),
        round=data.number("round", least=1, most=_MOST_ROUNDS),
        kind=kind,
        cluster=envelope.source,
        node=node,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
        time=envelope.time,
        attempt=data.number("attempt", most=_MOST_ROUNDS),
        jobs=tuple(job_from(fields) for fields in data.objects("jobs")),
        expiry=envelope.expiry,
        cause=cause_from(data.object("cause")) if "cause" in data.raw else None,
        actions=tuple(
            CloudAction(f.text("action"), f.text("server_id"), f.number("time"), f.text("result"))
            for f in data.objects("actions")
        ),
        retry_in=data.number("retry_in") if "retry_in" in data.raw else None,
        dry_run=data.flag("dry_run") if "dry_run" in data.raw else False,
        restamped=data.number("restamped", least=1) if "restamped" in data.raw else None,
        **{name: data.text_or_none(name) for name in _OPTIONAL_TEXTS},
    )
    envelope.check_id(matches=event.id == envelope.id, fields="request_id, round and step")
    return event
