"""Queries on the audit log: filters, and reading records back."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from schemas.events import Transition
from schemas.jobs import JOB_TRANSITIONS, JobTransition
from schemas.numbers import MOST
from workers.audit.record import CONFLICT, QUARANTINED
from workers.store.database import among
from workers.store.tables import audit, audit_jobs, audit_nodes, audit_uws


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the log; times are ns since the epoch."""

    seq: int
    id: str
    source: str
    type: str
    time: int
    recorded_at: int
    subject: str | None
    request_id: str | None
    round: int | None
    transition: str | None
    body: bytes
    sender: str | None = None

    @property
    def quarantined(self) -> bool:
        """Whether the message could not be parsed."""
        return self.type == QUARANTINED


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records to read; None means no restriction.

    Attributes:
        nodes: about any of these nodes, and about jobs that ran on them.
        job: about this job, and about requests that it waited for.
        uws: same as `job`, for each job that ran for this UWS job.
        since, until: by the event's own time, ns since the epoch; `until` is exclusive.
        transitions: any of these (`completed`, `failed`, ...).
        after: recorded after the record with this number (seq).
        limit: only the latest records, at most this many.
    """

    nodes: tuple[str, ...] | None = None
    job: int | None = None
    uws: str | None = None
    since: int | None = None
    until: int | None = None
    transitions: tuple[str, ...] | None = None
    request_id: str | None = None
    after: int | None = None
    limit: int | None = None


_PORTION_SIZE = 2000
# Up to this many nodes, look up their records by index; beyond it, scan all records.
_FEW = 50
_PAGE = 200
_about, _finished = audit.alias("about"), audit.alias("finished")
# Slurm's times are whole seconds.
_SECOND = 1_000_000_000
# ns after the end of a job until which events about it may come: more than Slurm shows it (MinJobAge).
_LATE = 3600 * _SECOND
_COLUMNS = tuple(audit.c[name] for name in Entry.__dataclass_fields__)


def find(connection: sa.Connection, wanted: Filter) -> list[Entry]:
    """The latest records that match, in the order they happened."""
    return list(latest_first(connection, wanted))[::-1]


def latest_first(connection: sa.Connection, wanted: Filter) -> Iterator[Entry]:
    """The records that match, the latest first, as they are read."""
    # a sum has no index: a query for few records must not scan the index over all times
    few = (wanted.job, wanted.uws, wanted.request_id) != (None, None, None)
    few |= wanted.nodes is not None and len(wanted.nodes) <= _FEW
    time = audit.c.time + 0 if few else audit.c.time
    query = sa.select(*_COLUMNS).order_by(time.desc(), audit.c.seq.desc()).limit(wanted.limit)
    for row in connection.execute(_narrowed(connection, query, wanted, few=few)):
        yield Entry(*row)


def oldest_first(connection: sa.Connection, wanted: Filter) -> Iterator[tuple[Entry, bytes]]:
    """All records that match, with their hashes, in the order recorded; read in portions."""
    after = wanted.after or 0
    while True:
        query = sa.select(*_COLUMNS, audit.c.hash).order_by(audit.c.seq).limit(_PORTION_SIZE)
        query = _narrowed(connection, query, replace(wanted, after=after))
        found = connection.execute(query).all()
        for row in found:
            yield Entry(*row[:-1]), row[-1]
        if len(found) < _PORTION_SIZE:
            return
        after = found[-1].seq


def _narrowed(
    connection: sa.Connection, query: sa.Select[Any], wanted: Filter, *, few: bool = False
) -> sa.Select[Any]:
    if wanted.after is not None:
        query = query.where(audit.c.seq > wanted.after)
    if wanted.nodes is not None:
        nodes, dialect = wanted.nodes, connection.dialect.name
        query = query.where(_of_few(nodes) if few else _of_nodes(dialect, nodes))
    if wanted.job is not None:
        query = query.where(audit.c.seq.in_(_of_job(wanted.job)))
    if wanted.uws is not None:
        query = query.where(audit.c.seq.in_(_of_uws(wanted.uws)))
    if wanted.since is not None:
        query = query.where(audit.c.time >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.time < wanted.until)
    if wanted.transitions is not None:
        query = query.where(audit.c.transition.in_(wanted.transitions))
    if wanted.request_id is not None:
        query = query.where(audit.c.request_id == wanted.request_id)
    return query


def request_records(connection: sa.Connection, request_id: str) -> list[Entry]:
    """The events of one request, in the order they happened."""
    found = find(connection, Filter(request_id=request_id))
    return [entry for entry in found if entry.transition is not None]


def conflicts(connection: sa.Connection, request_id: str) -> list[Entry]:
    """The records of outcomes that contradict a recorded outcome of this request."""
    found = find(connection, Filter(request_id=request_id))
    return [entry for entry in found if entry.type == CONFLICT]


def waiting_jobs(connection: sa.Connection, request_id: str) -> list[int]:
    """The jobs that waited for a request."""
    query = sa.select(audit_jobs.c.job_id).where(audit_jobs.c.request_id == request_id)
    return sorted(connection.scalars(query))


def _of_few(nodes: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether a record is about one of these nodes: an index lookup."""
    own = sa.select(_about.c.seq).where(_about.c.subject.in_(nodes))
    same = sa.and_(audit_nodes.c.source == _about.c.source, audit_nodes.c.id == _about.c.id)
    jobs = sa.select(_about.c.seq).join(audit_nodes, same).where(audit_nodes.c.node.in_(nodes))
    return audit.c.seq.in_(sa.union(own, jobs))


def _of_nodes(dialect: str, nodes: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether a record is about one of these nodes: tested on each record of a scan."""
    ran = sa.select(audit_nodes.c.source, audit_nodes.c.id)
    ran = ran.where(among(dialect, audit_nodes.c.node, nodes))
    same = sa.and_(audit_nodes.c.source == audit.c.source, audit_nodes.c.id == audit.c.id)
    of_job: sa.ColumnElement[bool] = ran.where(same).exists()
    if dialect == "sqlite":  # which would read the list of nodes again for each record
        of_job = sa.tuple_(audit.c.source, audit.c.id).in_(ran)
    own = among(dialect, audit.c.subject, nodes)
    return sa.or_(own, sa.and_(audit.c.type.in_(JOB_TRANSITIONS), of_job))


def _of_job(job: int) -> sa.CompoundSelect[tuple[int]]:
    """The numbers of the records about a job, and about requests that it waited for.

    Two queries, because no index covers an OR over two tables.
    """
    waited = (
        sa.select(_about.c.seq)
        .join(audit_jobs, audit_jobs.c.request_id == _about.c.request_id)
        .where(audit_jobs.c.job_id == job)
    )
    own = sa.select(_about.c.seq).where(
        _about.c.type.in_(JOB_TRANSITIONS), _about.c.subject == str(job)
    )
    return sa.union(waited, own)


def _of_uws(uws: str) -> sa.CompoundSelect[tuple[int]]:
    """Same as `_of_job`, for each job that ran for this UWS job, from its submission to its end.

    Slurm may give its id again. Events about it may come after its end, and those of its requests.
    """
    subject = sa.cast(audit_uws.c.job_id, sa.Text)
    end = sa.func.coalesce(
        sa.select(sa.func.min(_finished.c.time))
        .where(
            _finished.c.subject == subject,
            _finished.c.type == JobTransition.FINISHED.type,
            _finished.c.time >= audit_uws.c.submitted_at,
        )
        .correlate(audit_uws)
        .scalar_subquery(),
        MOST - _LATE,
    )
    ran = audit_uws.c.uws_id == uws, _about.c.time >= audit_uws.c.submitted_at
    waited = (
        sa.select(_about.c.seq)
        .join(audit_jobs, audit_jobs.c.request_id == _about.c.request_id)
        .join(audit_uws, audit_uws.c.job_id == audit_jobs.c.job_id)
        .where(*ran, _about.c.generation < end + _SECOND)
    )
    own = (
        sa.select(_about.c.seq)
        .join(audit_uws, _about.c.subject == subject)
        .where(_about.c.type.in_(JOB_TRANSITIONS), *ran, _about.c.time < end + _LATE)
    )
    return sa.union(waited, own)


def slowest_first(
    connection: sa.Connection, transition: Transition, since: int | None, until: int | None
) -> Iterator[Entry]:
    """Outcomes of this kind, the longest time after the request first."""
    order = (audit.c.time - audit.c.generation).desc(), audit.c.seq
    wanted = Filter(since=since, until=until, transitions=(str(transition),))
    query = _narrowed(connection, sa.select(*_COLUMNS).order_by(*order), wanted)
    # with a limit, the database need not sort all rows
    for offset in itertools.count(0, _PAGE):
        found = connection.execute(query.limit(_PAGE).offset(offset)).all()
        for row in found:
            yield Entry(*row)
        if len(found) < _PAGE:
            return


def last_seq(connection: sa.Connection) -> int:
    """The number of the last record; 0 if the log is empty."""
    return connection.execute(sa.select(sa.func.max(audit.c.seq))).scalar() or 0
