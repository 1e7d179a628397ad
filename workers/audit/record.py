"""Turns a message into the record that the audit keeps of it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas import ids
from schemas.envelope import Envelope, parse
from schemas.errors import MalformedMessageError
from schemas.events import Transition, event_from
from schemas.jobs import JobEvent, JobTransition, job_event_from
from schemas.notices import notice_from
from schemas.registrations import TYPE as REGISTERED
from schemas.registrations import registration_from

# Types of the audit's own records: about the log, and about messages that could not be parsed.
OWN_PREFIX = "lamplighter.audit."
QUARANTINED = f"{OWN_PREFIX}quarantined.v1"
GENESIS = bytes(32)

_REQUEST_TYPES = frozenset(transition.type for transition in Transition)
_JOB_TYPES = frozenset(transition.type for transition in JobTransition)
_NOTICE_PREFIXES = tuple(f"lamplighter.{kind}." for kind in ("alarm", "group", "hold", "message"))


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the audit keeps it; times are ns since the epoch.

    Attributes:
        source, id: the identity; records with the same source and id are repeats.
        body: the message, byte for byte.
        subject: the node or other subject; None if the message could not be parsed.
        jobs: the waiting jobs; not part of the hash, because the body holds them.
        job: the event itself if it is about a job; not part of the hash either.
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

    def chained(self, previous: bytes) -> bytes:
        """This record's hash, if it follows a record with hash `previous`.

        SHA-256 over the previous hash, the columns as one JSON list, and the body.
        """
        return chained(previous, [getattr(self, name) for name in HASHED], self.body)


# The columns that a record's hash covers, in this order.
HASHED = (
    *("source", "id", "type", "time", "recorded_at", "subject"),
    *("request_id", "round", "transition", "generation", "correlation_id"),
)
_encode = json.JSONEncoder(separators=(",", ":")).encode


def chained(previous: bytes, columns: Sequence[object], body: bytes) -> bytes:
    """The hash of a record with these columns (HASHED) that follows a record with hash `previous`.

    Raises:
        TypeError: a value has a type that no record has.
    """
    return hashlib.sha256(previous + _encode(columns).encode() + body).digest()


def record_of(body: bytes, cluster: str, now: int) -> Record:
    """The record of a message; if it cannot be parsed, a quarantine record of this `cluster`."""
    try:
        return _readable(body, now)
    except MalformedMessageError:
        digest = hashlib.sha256(body).hexdigest()
        id_ = ids.derived_id(QUARANTINED, digest)
        return Record(cluster, id_, QUARANTINED, time=now, recorded_at=now, body=body)


def own_record(body: bytes, now: int) -> Record:
    """The record of an event about the log itself; such events are not accepted from the broker.

    Raises:
        MalformedMessageError: the body is not a Lamplighter CloudEvent.
    """
    return _record(parse(body), body, now)


def quarantine_reason(body: bytes) -> str:
    """Why a message is in quarantine."""
    try:
        _readable(body, 0)
    except MalformedMessageError as error:
        return str(error)
    return "could not be parsed by the version that received it"


def _readable(body: bytes, now: int) -> Record:
    """Validate known types completely; keep unknown types by their envelope."""
    envelope = parse(body)
    if envelope.type in _REQUEST_TYPES:
        event = event_from(envelope)
        return replace(
            _record(envelope, body, now),
            request_id=event.request_id,
            round=event.round,
            transition=str(event.transition),
            jobs=tuple(sorted({job.job_id for job in event.jobs})),
        )
    if envelope.type in _JOB_TYPES:
        return replace(_record(envelope, body, now), job=job_event_from(envelope))
    if envelope.type == REGISTERED:
        registration_from(envelope)
    if envelope.type.startswith(_NOTICE_PREFIXES):
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
