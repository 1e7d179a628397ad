"""Reads the fields of a round's outcome that a report needs.

A report reads every outcome of its time. Parsing each event completely takes ten times as long, so
only events that the short parser rejects are parsed completely.
"""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, Transition, event_from
from schemas.fields import LONGEST_TEXT

_Moment = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Text = Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]
_ENDS = {str(end): (end, end.type) for end in Transition if end.terminal}


class ReportedAction(msgspec.Struct, frozen=True, gc=False):
    """A cloud action, without its server; see schemas.events.CloudAction."""

    action: _Text
    time: _Moment
    result: _Text


class ReportedOutcome(msgspec.Struct, frozen=True, gc=False):
    """A round's outcome; fields as in RequestEvent, but `jobs` holds the ids, sorted and unique."""

    transition: Transition
    kind: Kind
    node: str
    generation: int
    time: int
    cloud: str | None
    actions: tuple[ReportedAction, ...]
    jobs: tuple[int, ...]


class Recorded(NamedTuple):
    """A round's outcome as the audit stores it: columns and body."""

    seq: int
    transition: str
    node: str
    generation: int
    time: int
    body: bytes


class _Job(msgspec.Struct, frozen=True, gc=False):
    job_id: Annotated[int, Meta(ge=1, le=2**63 - 1)]


class _OutcomeData(msgspec.Struct, frozen=True, gc=False):
    kind: Kind
    jobs: tuple[_Job, ...]
    actions: tuple[ReportedAction, ...]
    cloud: _Text | None = None


class _OutcomeBody(msgspec.Struct, frozen=True, gc=False):
    type: str
    subject: str
    generation: str
    data: _OutcomeData


_decode = msgspec.json.Decoder(_OutcomeBody).decode


def outcome(record: Recorded) -> ReportedOutcome:
    """The outcome in a record.

    A MalformedMessageError names a record that cannot be parsed, or does not match its columns.
    """
    seq, transition, node, generation, time, body = record
    end, type_ = _ENDS[transition]
    short = _parse_short(body)
    if short is None:
        found = _parse_complete(body, seq)
        columns = found.transition, found.node, found.generation, found.time
        if columns == (end, node, generation, time):
            return found
    elif short.type == type_ and short.subject == node and short.generation == str(generation):
        data = short.data
        jobs = _jobs([job.job_id for job in data.jobs])
        return ReportedOutcome(
            end, data.kind, node, generation, time, data.cloud, data.actions, jobs
        )
    raise unreadable(seq, "its body does not match its columns")


def outcome_of(event: RequestEvent) -> ReportedOutcome:
    """The outcome in a complete event."""
    return ReportedOutcome(
        transition=event.transition,
        kind=event.kind,
        node=event.node,
        generation=event.generation,
        time=event.time,
        cloud=event.cloud,
        actions=tuple(ReportedAction(a.action, a.time, a.result) for a in event.actions),
        jobs=_jobs([job.job_id for job in event.jobs]),
    )


def _parse_short(body: bytes) -> _OutcomeBody | None:
    """Parse the needed fields; None if the body must be parsed completely."""
    # our JSON is ASCII; in skipped texts the decoder would accept invalid UTF-8
    if not body.isascii():
        return None
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return None  # malformed, or with a lone surrogate, which msgspec does not accept


def _parse_complete(body: bytes, seq: int) -> ReportedOutcome:
    try:
        return outcome_of(event_from(parse(body)))
    except MalformedMessageError as error:
        raise unreadable(seq, str(error)) from None


def _jobs(ids: list[int]) -> tuple[int, ...]:
    return tuple(sorted(set(ids))) if len(ids) > 1 else tuple(ids)


def unreadable(seq: int, problem: str) -> MalformedMessageError:
    """The error for a record that cannot be parsed: a report without it would be wrong."""
    return MalformedMessageError(f"record {seq}", problem, "run lamplighter audit verify")
