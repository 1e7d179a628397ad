"""Reads the fields of a round's outcome that a report needs.

A report reads every outcome of its time; parsing each event completely takes ten times as long.
"""

import json
from contextlib import suppress
from typing import Annotated, NamedTuple

import msgspec

from schemas.commands import Kind
from schemas.errors import MalformedMessageError
from schemas.events import Transition
from schemas.fields import LONGEST_TEXT
from schemas.numbers import MOST

_Moment = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TEXT)]
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

    @property
    def is_about_power(self) -> bool:
        """Whether it may show if its node is on: a dry run ends at the call that it does not make."""
        return self.kind is not Kind.ADOPT and all(one.result != "dry_run" for one in self.actions)


class Recorded(NamedTuple):
    """A round's outcome as the audit stores it: columns and body."""

    seq: int
    transition: str
    node: str
    generation: int
    time: int
    body: bytes


class _Job(msgspec.Struct, frozen=True, gc=False):
    job_id: Annotated[int, msgspec.Meta(ge=1, le=MOST)]


class _OutcomeData(msgspec.Struct, frozen=True, gc=False):
    kind: Kind
    jobs: tuple[_Job, ...]
    actions: tuple[ReportedAction, ...]
    cloud: Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)] | None = None


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
    try:
        read = _parse(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise unreadable(seq, str(error)) from None
    if (read.type, read.subject, read.generation) != (type_, node, str(generation)):
        raise unreadable(seq, "its body does not match its columns")
    data, cloud = read.data, read.data.cloud or None
    jobs = tuple(sorted({job.job_id for job in data.jobs}))
    return ReportedOutcome(end, data.kind, node, generation, time, cloud, data.actions, jobs)


def _parse(body: bytes) -> _OutcomeBody:
    # our JSON is ASCII; in skipped texts the decoder would accept invalid UTF-8
    if body.isascii():
        with suppress(msgspec.DecodeError):  # a lone surrogate, which only json accepts
            return _decode(body)
    return msgspec.convert(json.loads(body), _OutcomeBody)


def unreadable(seq: int, problem: str) -> MalformedMessageError:
    """The error for a record that cannot be parsed: a report without it would be wrong."""
    return MalformedMessageError(f"record {seq}", problem, "run lamplighter audit verify")
