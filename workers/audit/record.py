"""Turns a message into the record that the audit keeps of it."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from schemas import ids
from schemas.envelope import Envelope, parse, traceparent
from schemas.errors import MalformedMessageError
from schemas.events import TRANSITIONS, event_from
from schemas.jobs import JOB_TRANSITIONS, JobEvent, job_event_from
from schemas.notices import FAMILIES, notice_from
from schemas.registrations import TYPE as REGISTERED
from schemas.registrations import registration_from
from workers.broker.authority import event_in
from workers.broker.delivery import Delivery

# Types of the audit's own records: about the log, and about messages that could not be parsed, that
# their sender may not say, or that contradict a recorded outcome.
OWN_PREFIX = "lamplighter.audit."
QUARANTINED = f"{OWN_PREFIX}quarantined.v1"
REFUSED = f"{OWN_PREFIX}refused.v1"
CONFLICT = f"{OWN_PREFIX}conflict.v1"
GENESIS = bytes(32)

_NOTICE_PREFIXES = tuple(f"lamplighter.{family}" for family in FAMILIES)


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the audit keeps it; times are ns since the epoch.

    Attributes:
        source, id: the identity; records with the same source and id are repeats.
        body: the message, byte for byte.
        subject: the node or other subject; None if the message could not be parsed.
        jobs: the waiting jobs; not part of the hash, because the body holds them.
        job: the event itself if it is about a job; not part of the hash either.
        sender: the broker user that published it, validated by the broker; None if unknown.
    """

    source: str
    id: str
    type: str
    time: int
    recorded_at: int
    body: bytes
    subject: str | None = None
    request_id: str | None = None
    round: int | None = None
    transition: str | None = None
    generation: int | None = None
    correlation_id: str | None = None
    jobs: tuple[int, ...] = ()
    job: JobEvent | None = None
    sender: str | None = None

    def chained(self, previous: bytes) -> bytes:
        """This record's hash, if it follows a record with hash `previous`.

        SHA-256 over the previous hash, the columns as one JSON list, and the body.
        """
        return chained(previous, [getattr(self, name) for name in HASHED], self.body)


# The columns that a record's hash covers, in this order; the sender only if there is one, because
# records of 0.1.0 have none.
HASHED = (
    *("source", "id", "type", "time", "recorded_at", "subject"),
    *("request_id", "round", "transition", "generation", "correlation_id", "sender"),
)
_encode = json.JSONEncoder(separators=(",", ":")).encode


def chained(previous: bytes, columns: Sequence[object], body: bytes) -> bytes:
    """The hash of a record with these columns (HASHED) that follows a record with hash `previous`.

    Raises:
        TypeError: a value has a type that no record has.
    """
    known = columns if columns[-1] is not None else columns[:-1]
    return hashlib.sha256(previous + _encode(known).encode() + body).digest()


def record_of(
    body: bytes,
    cluster: str,
    now: int,
    read: Callable[[], Envelope] | None = None,
    sender: str | None = None,
) -> Record:
    """The record of a message; if it cannot be parsed, a quarantine record of this `cluster`.

    `now` is in ns since the epoch. `read` gives the envelope, or raises MalformedMessageError; by
    default, the body is parsed. `sender` is the broker user that published the message.
    """
    try:
        record = _readable(read() if read else parse(body), body, now)
    except MalformedMessageError:
        digest = hashlib.sha256(body).hexdigest()
        id_ = ids.derived_id(QUARANTINED, digest)
        record = Record(cluster, id_, QUARANTINED, time=now, recorded_at=now, body=body)
    return replace(record, sender=sender)


def refused_record(delivery: Delivery, cluster: str, now: int) -> Record:
    """The record of a message that its sender may not say; it holds the message, byte for byte."""
    user = delivery.user_id or "unknown"
    digest = hashlib.sha256(delivery.body).hexdigest()
    id_ = ids.derived_id(REFUSED, cluster, user, delivery.routing_key, digest)
    data = {"user": user, "routing_key": delivery.routing_key, "reason": delivery.refusal}
    record = log_record(REFUSED, id_, cluster, user, {**data, **_message(delivery.body)}, now)
    return replace(record, sender=delivery.user_id)


def conflict_id(second: Record) -> str:
    """The id of the record of a conflict."""
    digest = hashlib.sha256(second.body).hexdigest()
    return ids.derived_id(CONFLICT, second.source, second.id, digest)


def conflict_record(second: Record, reason: str) -> Record:
    """The record of an event that contradicts what is recorded of its request: the first one stays."""
    data = {"id": second.id, "type": second.type, "reason": reason, **_message(second.body)}
    subject = second.subject or "unknown"
    record = log_record(
        CONFLICT, conflict_id(second), second.source, subject, data, second.recorded_at
    )
    return replace(record, request_id=second.request_id, round=second.round, sender=second.sender)


def _message(body: bytes) -> dict[str, str]:
    return {"message_base64": base64.b64encode(body).decode()}


def log_record(  # noqa: PLR0913, PLR0917 - the fields of an envelope
    type_: str, id_: str, cluster: str, subject: str, data: Mapping[str, object], now: int
) -> Record:
    """The record of an event about the log itself; such events are not accepted from the broker."""
    envelope = Envelope(
        id=id_,
        source=cluster,
        type=type_,
        subject=subject,
        time=now,
        traceparent=traceparent(ids.NO_CORRELATION, id_),
        data=data,
    )
    return _record(envelope, envelope.to_json(), now)


def quarantine_reason(body: bytes) -> str:
    """Why a message is in quarantine."""
    try:
        _readable(event_in(body), body, 0)
    except MalformedMessageError as error:
        return str(error)
    return "could not be parsed by the version that received it"


def _readable(envelope: Envelope, body: bytes, now: int) -> Record:
    """Validate known types completely; keep unknown types by their envelope."""
    if envelope.type in TRANSITIONS:
        event = event_from(envelope)
        return replace(
            _record(envelope, body, now),
            request_id=event.request_id,
            round=event.round,
            transition=str(event.transition),
            jobs=tuple(sorted({job.job_id for job in event.jobs})),
        )
    if envelope.type in JOB_TRANSITIONS:
        return replace(_record(envelope, body, now), job=job_event_from(envelope))
    if envelope.type == REGISTERED:
        registration_from(envelope)
    if envelope.type.startswith(_NOTICE_PREFIXES) and envelope.type.endswith(".v1"):
        notice_from(envelope)
    if envelope.type.startswith(OWN_PREFIX):
        raise MalformedMessageError("type", "is reserved for the audit", "do not send it")
    return _record(envelope, body, now)


def _record(envelope: Envelope, body: bytes, now: int) -> Record:
    return Record(
        source=envelope.source,
        id=envelope.id,
        type=envelope.type,
        time=envelope.time,
        recorded_at=now,
        body=body,
        subject=envelope.subject,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
    )
