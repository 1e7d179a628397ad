"""What a request's end tells a report: the few fields of its event that tell of power.

A report reads every outcome of its time. Reading each event to its last field takes ten times as long, so
that is left to what cannot be read the short way.
"""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from schemas.commands import Kind
from schemas.envelope import LONGEST_TEXT, parse
from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, Transition, event_from

_Moment = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Text = Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]
_ENDS = {str(end): (end, end.type) for end in Transition if end.terminal}


class ReportedAction(msgspec.Struct, frozen=True, gc=False):
    """A call that changed something in the cloud; as schemas.events.CloudAction."""

    action: _Text
    time: _Moment
    result: _Text


class ReportedOutcome(msgspec.Struct, frozen=True, gc=False):
    """A round's end; its fields are RequestEvent's, but that `jobs` are ids, each once, in order."""

    transition: Transition
    kind: Kind
    node: str
    generation: int
    time: int
    cloud: str | None
    actions: tuple[ReportedAction, ...]
    jobs: tuple[int, ...]


class Recorded(NamedTuple):
    """A round's end in the audit, its columns and its body."""

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
    """What a record tells.

    Raises:
        MalformedMessageError: its body cannot be read, or is another event's than its columns say;
            names the record.
    """
    seq, transition, node, generation, time, body = record
    end, type_ = _ENDS[transition]
    told = _read(body)
    if told is None:
        found = _in_full(body, seq)
        said = found.transition, found.node, found.generation, found.time
        if said == (end, node, generation, time):
            return found
    elif told.type == type_ and told.subject == node and told.generation == str(generation):
        data = told.data
        jobs = _jobs([job.job_id for job in data.jobs])
        return ReportedOutcome(
            end, data.kind, node, generation, time, data.cloud, data.actions, jobs
        )
    raise unreadable(seq, "its body is another event's than its columns say")


def outcome_of(event: RequestEvent) -> ReportedOutcome:
    """What a whole event tells."""
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


def _read(body: bytes) -> _OutcomeBody | None:
    """The short way; None where only the long way can tell."""
    # what we send is ASCII; in texts that are skipped, bytes that are no UTF-8 would pass
    if not body.isascii():
        return None
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return None  # or it holds a lone surrogate, which JSON can say and msgspec does not read


def _in_full(body: bytes, seq: int) -> ReportedOutcome:
    try:
        return outcome_of(event_from(parse(body)))
    except MalformedMessageError as error:
        raise unreadable(seq, str(error)) from None


def _jobs(ids: list[int]) -> tuple[int, ...]:
    return tuple(sorted(set(ids))) if len(ids) > 1 else tuple(ids)


def unreadable(seq: int, problem: str) -> MalformedMessageError:
    """The error that names a record: figures without it would be wrong."""
    return MalformedMessageError(f"record {seq}", problem, "run lamplighter audit verify")
