"""What Slurm had nodes for, as the snapshot worker has told the audit: runs of jobs, and registrations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from ops.report.history import History
from ops.report.outcome import unreadable
from ops.report.question import Allocation
from schemas.jobs import JobTransition
from schemas.registrations import TYPE as REGISTERED
from workers.store.tables import audit

_STARTED, _ENDED = JobTransition.STARTED.type, JobTransition.ENDED.type
_NS = 1_000_000_000
# A job may start before the worker has seen its node lit, by one listing and two clocks.
_EARLIER = 600 * _NS


@dataclass(frozen=True, slots=True)
class Said:
    """What Slurm said.

    Attributes:
        heard: by node, when something was said of it, ns since the epoch: where a node was lit and
            nothing was, nobody knows whether it was idle.
    """

    allocations: tuple[Allocation, ...]
    heard: Mapping[str, tuple[int, ...]]


class _RunData(msgspec.Struct, frozen=True, gc=False):
    job_id: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    nodes: tuple[str, ...]
    started_at: datetime
    user: str


class _RunBody(msgspec.Struct, frozen=True, gc=False):
    type: str
    subject: str
    data: _RunData


class _Run(NamedTuple):
    nodes: tuple[str, ...]
    user: str
    end: int


_decode = msgspec.json.Decoder(_RunBody).decode


def said(
    connection: sa.Connection, histories: Iterable[History], begin: int, end: int
) -> Said | None:
    """What was said of the times that these nodes were lit in; None where nothing was.

    A run whose end was not told lasts until `end`, but never longer than its node is lit.

    Raises:
        MalformedMessageError: naming a record that cannot be read.
    """
    lit = (span.begin for known in histories for span in known.lit if span.end > begin)
    since = min(lit, default=begin) - _EARLIER
    query = sa.select(audit.c.seq, audit.c.type, audit.c.subject, audit.c.time, audit.c.body).where(
        audit.c.type.in_((_STARTED, _ENDED, REGISTERED)),
        audit.c.transition.is_(None),
        audit.c.time >= since,
        audit.c.time < end,
    )
    heard: dict[str, list[int]] = {}
    runs: dict[tuple[int, int], _Run] = {}
    for row in connection.execution_options(yield_per=5000).execute(query):
        if row.type == REGISTERED:
            heard.setdefault(row.subject, []).append(row.time)
            continue
        data = _read(row.body, row.type, row.subject, row.seq)
        for node in data.nodes:
            heard.setdefault(node, []).append(row.time)
        key = data.job_id, int(data.started_at.timestamp()) * _NS
        if row.type == _ENDED or key not in runs:
            runs[key] = _Run(data.nodes, data.user, row.time if row.type == _ENDED else end)
    if not heard:
        return None
    return Said(
        tuple(
            Allocation(node, job, run.user, started, run.end)
            for (job, started), run in runs.items()
            for node in run.nodes
        ),
        {node: tuple(sorted(times)) for node, times in heard.items()},
    )


def _read(body: bytes, type_: str, subject: str, seq: int) -> _RunData:
    try:
        told = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = str(error)
    else:
        if (told.type, told.subject, str(told.data.job_id)) == (type_, subject, subject):
            return told.data
        problem = "its body is another event's than its columns say"
    raise unreadable(seq, problem)
