"""What became of a request, and what people must hear of: everything on exchange power.events."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas import ids
from schemas.commands import Kind, PowerCommand, WaitingJob, job_from
from schemas.envelope import Envelope, Fields, fit
from schemas.errors import MalformedMessageError
from schemas.names import is_node_name, shown


class Transition(enum.StrEnum):
    """A step in the life of a request's round."""

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
        """Whether it ends the round; each round has exactly one that does."""
        return self in _TERMINAL

    @property
    def routing_key(self) -> str:
        """Where it goes on exchange power.events."""
        return f"node.request.{self}"

    @property
    def type(self) -> str:
        """Its CloudEvents type."""
        return f"lamplighter.{self.routing_key}.v1"


_TERMINAL = frozenset(
    {Transition.COMPLETED, Transition.SUPERSEDED, Transition.FAILED, Transition.DISCARDED}
)
_TRANSITIONS = {transition.type: transition for transition in Transition}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something failed: a class from the table in workers/clouds/errors.py, and words."""

    error: str
    message: str

    def to_data(self) -> dict[str, str]:
        """As it travels."""
        return {"error": self.error, "message": fit(self.message)}


def cause_from(fields: Fields) -> Cause:
    """As `to_data` made it.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    return Cause(fields.text("error"), fields.text("message", shortest=0))


@dataclass(frozen=True, slots=True)
class CloudAction:
    """One call that changed something in the cloud.

    Attributes:
        action: Nova's word (`os-start`).
        server_id: the server it was made on.
        time: ns since the epoch when the answer came.
        result: `done`, `dry_run` where it was not made at all, or the error's class.
    """

    action: str
    server_id: str
    time: int
    result: str

    def to_data(self) -> dict[str, Any]:
        """As it travels."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A step in a request's round.

    Attributes:
        transition: which step.
        request_id, round: the request, and which try of an operator's it is (from 1).
        kind, cluster, node, generation, correlation_id: the request's own.
        time: ns since the epoch.
        attempt: how many attempts had failed before.
        jobs, expiry, origin, note: the command's (carried by `accepted`).
        cloud, server_id, address: where the node runs, once known.
        image_id: the image that was made of it.
        cause: why, for retried, parked, failed and superseded.
        actions: the cloud actions made for this round, in order.
        retry_in: seconds until the next delivery, for retried and parked.
        by, reason: the operator and their words, for replayed and discarded.
        dry_run: whether nothing was done, and `actions` are what would have been called first.
        restamped: for discarded, the generation of the request that was asked in its stead.
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
        """Derived: a second report of the same step has the same id, and all outcomes share one."""
        step = str(self.transition)
        if self.transition.terminal:
            step = "outcome"
        elif self.transition is Transition.RETRIED:
            step = f"retried/{self.attempt}"
        return ids.event_id(self.request_id, self.round, step)

    @property
    def routing_key(self) -> str:
        """Where it goes on exchange power.events."""
        return self.transition.routing_key

    def to_envelope(self) -> Envelope:
        """As it travels; fields that say nothing are left out."""
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


@dataclass(frozen=True, slots=True)
class Notice:
    """Something people must hear of that is no step of a request: an alarm, a rejected message.

    Attributes:
        name: routing key and type follow from it: `alarm.token`, `message.rejected`,
            `group.image_unset`, `hold.placed`.
        cluster: where.
        subject: what it is about: a cloud's name, a queue, a node.
        key: two notices with the same name, subject and key are one.
        time: ns since the epoch.
        message, remedy: what is wrong, and what to do about it.
        details: more, by name.
        correlation_id: the hook call it came of, or zeros.
    """

    name: str
    cluster: str
    subject: str
    key: str
    time: int
    message: str
    remedy: str
    details: Mapping[str, str]
    correlation_id: str = ids.NO_CORRELATION

    @property
    def id(self) -> str:
        """Derived from name, subject and key."""
        return ids.derived_id(self.name, self.cluster, self.subject, self.key)

    @property
    def routing_key(self) -> str:
        """Where it goes on exchange power.events."""
        return self.name

    def to_envelope(self) -> Envelope:
        """As it travels."""
        return Envelope(
            id=self.id,
            source=self.cluster,
            type=f"lamplighter.{self.name}.v1",
            subject=self.subject,
            time=self.time,
            generation=0,
            correlation_id=self.correlation_id,
            traceparent=ids.traceparent(self.correlation_id, self.id),
            data={
                "key": self.key,
                "message": fit(self.message),
                "remedy": fit(self.remedy),
                "details": {name: fit(value) for name, value in self.details.items()},
            },
        )


def about(
    command: PowerCommand, transition: Transition, *, round_: int, time: int, attempt: int = 0
) -> RequestEvent:
    """The event of a step in the life of `command`; `accepted` carries the command's all."""
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
    """The request event an envelope carries.

    Raises:
        MalformedMessageError: naming the field and the remedy; also for other types.
    """
    transition = _TRANSITIONS.get(envelope.type)
    if transition is None:
        raise MalformedMessageError(
            "type", f"{shown(envelope.type)} is no request event", "send one of schemas/json"
        )
    if not is_node_name(envelope.subject):
        raise MalformedMessageError(
            "subject", f"{shown(envelope.subject)} is no node name", "send Slurm's node name"
        )
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
        node=envelope.subject,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
        time=envelope.time,
        attempt=data.number("attempt", most=_MOST_ROUNDS),
        jobs=tuple(job_from(fields) for fields in data.objects("jobs")),
        expiry=envelope.expiry,
        origin=data.text_or_none("origin"),
        note=data.text_or_none("note"),
        cloud=data.text_or_none("cloud"),
        server_id=data.text_or_none("server_id"),
        address=data.text_or_none("address"),
        image_id=data.text_or_none("image_id"),
        cause=cause_from(data.object("cause")) if "cause" in data.raw else None,
        actions=tuple(
            CloudAction(f.text("action"), f.text("server_id"), f.number("time"), f.text("result"))
            for f in data.objects("actions")
        ),
        retry_in=data.number("retry_in") if "retry_in" in data.raw else None,
        by=data.text_or_none("by"),
        reason=data.text_or_none("reason"),
        dry_run=data.flag("dry_run") if "dry_run" in data.raw else False,
        restamped=data.number("restamped", least=1) if "restamped" in data.raw else None,
    )
    if event.id != envelope.id:
        raise MalformedMessageError(
            "id", "does not follow from request_id, round and step", "do not alter it"
        )
    return event


def notice_from(envelope: Envelope) -> Notice:
    """The notice an envelope carries.

    Raises:
        MalformedMessageError: naming the field and the remedy; also for other types.
    """
    name = envelope.type.removeprefix("lamplighter.").removesuffix(".v1")
    if (
        not name.startswith(("alarm.", "message.", "group.", "hold."))
        or envelope.type != f"lamplighter.{name}.v1"
    ):
        raise MalformedMessageError(
            "type", f"{shown(envelope.type)} is no notice", "send one of schemas/json"
        )
    data = Fields(envelope.data, "data.")
    details = data.object("details").raw
    if not all(isinstance(value, str) for value in details.values()):
        raise data.wrong("details", "must hold strings only")
    notice = Notice(
        name=name,
        cluster=envelope.source,
        subject=envelope.subject,
        key=data.attribute("key"),
        time=envelope.time,
        message=data.text("message", shortest=0),
        remedy=data.text("remedy", shortest=0),
        details=details,
        correlation_id=envelope.correlation_id,
    )
    if notice.id != envelope.id:
        raise MalformedMessageError(
            "id", "does not follow from type, source, subject and key", "do not alter it"
        )
    return notice
