"""Reads from the audit what Slurm reported about nodes: runs of jobs, and registrations."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from ops.report.history import NodeHistory, PoweredOn
from ops.report.outcome import unreadable
from ops.report.question import Allocation, StartWait
from schemas.jobs import JobTransition
from schemas.numbers import MOST
from schemas.registrations import TYPE as REGISTERED
from workers.slurm.runs import MOST_TIMER
from workers.store.tables import audit

_STARTED, _ENDED = JobTransition.STARTED.type, JobTransition.ENDED.type
_NS = 1_000_000_000
_EPOCH, _MICROSECOND = datetime.fromtimestamp(0, UTC), timedelta(microseconds=1)
# A job may start before the worker sees its node running: by one listing, and clock differences.
_EARLIER = 600 * _NS
_Moment = Annotated[datetime, Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class SlurmReports:
    """What Slurm reported, and by node the times of its reports, ns since the epoch.

    If a node was powered on without any report, it is not known whether it was idle.
    """

    allocations: tuple[Allocation, ...]
    reported_at: Mapping[str, tuple[int, ...]]
    start_waits: tuple[StartWait, ...] = ()


class _RunData(msgspec.Struct, frozen=True, gc=False):
    job_id: Annotated[int, Meta(ge=1, le=MOST)]
    nodes: tuple[str, ...]
    submitted_at: _Moment
    started_at: _Moment
    user: str


class _RunBody(msgspec.Struct, frozen=True, gc=False):
    type: str
    subject: str
    data: _RunData


class _Run(NamedTuple):
    nodes: tuple[str, ...]
    user: str
    submitted: int
    end: int | None


_decode = msgspec.json.Decoder(_RunBody).decode


def slurm_reports(
    connection: sa.Connection, histories: Sequence[NodeHistory], begin: int, end: int
) -> SlurmReports | None:
    """The reports about the times that these nodes were powered on; None if there are none.

    A run whose end was not reported lasts until `end`, but not beyond the time that its node was
    powered on for it: later ones belong to others.
    A MalformedMessageError names a record that cannot be parsed.
    """
    begins = (x.begin for history in histories for x in history.powered_on if x.end > begin)
    since = min(begins, default=begin) - _EARLIER
    query = sa.select(audit.c.seq, audit.c.type, audit.c.subject, audit.c.time, audit.c.body).where(
        audit.c.type.in_((_STARTED, _ENDED, REGISTERED)),
        audit.c.transition.is_(None),
        audit.c.time >= since,
        audit.c.time < end,
    )
    reported_at: dict[str, list[int]] = {}
    registered: dict[str, list[int]] = {}
    runs: dict[tuple[int, int], _Run] = {}
    for row in connection.execution_options(yield_per=5000).execute(query):
        if row.type == REGISTERED:
            reported_at.setdefault(row.subject, []).append(row.time)
            registered.setdefault(row.subject, []).append(row.time)
            continue
        data = _parse_run(row.body, row.type, row.subject, row.seq)
        for node in data.nodes:
            reported_at.setdefault(node, []).append(row.time)
        key, submitted = (data.job_id, _ns(data.started_at)), _ns(data.submitted_at)
        if row.type == _ENDED or key not in runs:
            ended = row.time if row.type == _ENDED else None
            runs[key] = _Run(data.nodes, data.user, submitted, ended)
    if not reported_at:
        return None
    on = {history.node: history.powered_on for history in histories}
    allocations = tuple(
        Allocation(node, job, run.user, started, run.end or _off(on.get(node, ()), started, end))
        for (job, started), run in runs.items()
        for node in run.nodes
    )
    for times in registered.values():
        times.sort()
    return SlurmReports(
        allocations,
        {node: tuple(sorted(times)) for node, times in reported_at.items()},
        tuple(_start_waits(runs, allocations, registered)),
    )


def _off(powered_on: Sequence[PoweredOn], started: int, end: int) -> int:
    """When a run without a reported end was over at the latest: its node was powered off."""
    time = next((time for time in powered_on if time.end > started), None)
    if time is None:
        return end
    return time.end if time.begin <= started + _EARLIER else started


def _start_waits(
    runs: Mapping[tuple[int, int], _Run],
    allocations: Iterable[Allocation],
    registered: Mapping[str, Sequence[int]],
) -> Iterator[StartWait]:
    """The waits of nodes for slurmctld's timer: from a job's last registration to its start.

    The job must have been there before: another one has not waited for the registration. A node waits
    while no job has it: of those that start on it at once, it has waited for one.
    """
    ready = {
        (job, started): max((_before(registered.get(x, ()), started) for x in run.nodes), default=0)
        for (job, started), run in runs.items()
    }
    busy: dict[str, int] = {}
    for one in sorted(allocations, key=attrgetter("begin", "job")):
        key, until = (one.job, one.begin), busy.get(one.node, 0)
        last = ready[key]
        if runs[key].submitted <= last and one.begin - last <= MOST_TIMER and until <= last:
            yield StartWait(one.node, one.job, last, one.begin)
        busy[one.node] = max(until, one.end, one.begin + 1)


def _before(times: Sequence[int], moment: int) -> int:
    """The last of these times that is not after the moment; 0 if there is none."""
    at = bisect_right(times, moment)
    return times[at - 1] if at else 0


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND * 1000


def _parse_run(body: bytes, type_: str, subject: str, seq: int) -> _RunData:
    try:
        run = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error)
    else:
        if (run.type, run.subject, str(run.data.job_id)) == (type_, subject, subject):
            return run.data
        problem = "its body does not match its columns"
    raise unreadable(seq, problem)
