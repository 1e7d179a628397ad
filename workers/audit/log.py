"""Appends to the audit log; the hash of each record covers the hash of the one before.

UNIQUE(prev_hash) guarantees a single chain, even if the broker lets two workers consume. To avoid
that conflict, writers take turns: on SQLite by BEGIN IMMEDIATE, on PostgreSQL by an advisory lock
(unlike a table lock, it needs only the right to insert).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import sqlalchemy as sa

from producers.batched import batched
from schemas.events import ENDS, Transition
from workers.audit.record import GENESIS, HASHED, Record, conflict_record
from workers.audit.rounds import SECOND_OUTCOME, RoundStep, contradiction
from workers.store.database import insert
from workers.store.tables import audit, audit_jobs, audit_nodes, audit_uws

# Type and body.
_Content: TypeAlias = tuple[str, bytes]
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('lamplighter.audit'))")


@dataclass(frozen=True, slots=True)
class Appended:
    """How many records of a batch were new (`recorded`), and how many were not (`folded`).

    `conflicts` are events that contradict what is in the log; instead of each, a record says so.
    """

    recorded: int
    folded: int
    conflicts: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The last record of the log."""

    seq: int
    hash: bytes
    recorded_at: int


def append(engine: sa.Engine, records: Sequence[Record]) -> Appended:
    """Write the new ones among `records`, in order and in one transaction.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the store is unavailable.
    """
    with engine.begin() as connection:
        return append_within(connection, records)


def lock_log(connection: sa.Connection) -> None:
    """Wait for other writers, and keep them out until the end of this transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)


def append_within(connection: sa.Connection, records: Sequence[Record]) -> Appended:
    """Same as `append`, within the caller's transaction."""
    lock_log(connection)
    new, known = _unknown(connection, records)
    # the outcomes of a round share one id: whatever comes second must not go unnoticed
    doubled = [(r, SECOND_OUTCOME) for r in records if _contradicts(r, known[r.source, r.id])]
    new, displacing = _consistent(connection, new)
    conflicts = [*doubled, *displacing]
    notes, _ = _unknown(connection, [conflict_record(*conflict) for conflict in conflicts])
    if new or notes:
        _insert(connection, [*new, *notes])
    return Appended(len(new), len(records) - len(new), tuple(record for record, _ in conflicts))


def _unknown(
    connection: sa.Connection, records: Sequence[Record]
) -> tuple[list[Record], dict[tuple[str, str], _Content]]:
    """The records that are not in the log, each once; and what is, or will be, under each key."""
    known: dict[tuple[str, str], _Content] = {}
    for some in batched([(record.source, record.id) for record in records]):
        query = sa.select(audit.c.source, audit.c.id, audit.c.type, audit.c.body)
        asked = query.where(sa.tuple_(audit.c.source, audit.c.id).in_(some))
        known |= {(r.source, r.id): (r.type, bytes(r.body)) for r in connection.execute(asked)}
    new = []
    for record in records:
        if (record.source, record.id) not in known:
            known[record.source, record.id] = record.type, record.body
            new.append(record)
    return new, known


def _contradicts(record: Record, known: _Content) -> bool:
    """Whether a record differs from that with its id: in its type, or as an outcome in anything."""
    terminal = record.transition is not None and Transition(record.transition).terminal
    return known[0] != record.type or (terminal and known[1] != record.body)


def _consistent(
    connection: sa.Connection, new: Sequence[Record]
) -> tuple[list[Record], list[tuple[Record, str]]]:
    """The new records that can follow from the log; and those that cannot, with the reason."""
    steps: dict[str, list[RoundStep]] = defaultdict(list)
    columns = audit.c.request_id, audit.c.source, audit.c.id, audit.c.round, audit.c.transition
    # steps of a first round that do not end it contradict nothing
    telling = sa.or_(audit.c.round > 1, audit.c.transition.in_(ENDS))
    for some in batched(sorted({one.request_id for one in new if one.request_id is not None})):
        of_these = audit.c.request_id.in_(some), audit.c.transition.is_not(None)
        query = sa.select(*columns).where(*of_these, telling)
        for request_id, source, id_, round_, transition in connection.execute(query):
            steps[request_id].append(RoundStep(source, id_, round_, Transition(transition)))
    consistent, displacing = [], []
    for record in new:
        if record.request_id is None or record.round is None or record.transition is None:
            consistent.append(record)
            continue
        step = RoundStep(record.source, record.id, record.round, Transition(record.transition))
        if reason := contradiction(step, steps[record.request_id]):
            displacing.append((record, reason))
        else:
            steps[record.request_id].append(step)
            consistent.append(record)
    return consistent, displacing


def last_record(connection: sa.Connection) -> LogEnd | None:
    """The last record; None if the log is empty."""
    query = sa.select(audit.c.seq, audit.c.hash, audit.c.recorded_at)
    row = connection.execute(query.order_by(audit.c.seq.desc()).limit(1)).first()
    return None if row is None else LogEnd(*row)


def _insert(connection: sa.Connection, records: Sequence[Record]) -> None:
    """Append new records to the chain."""
    end = last_record(connection)
    previous = GENESIS if end is None else end.hash
    rows = []
    for record in records:
        columns = {name: getattr(record, name) for name in (*HASHED, "body")}
        hash_ = record.chained(previous)
        rows.append({**columns, "prev_hash": previous, "hash": hash_})
        previous = hash_
    connection.execute(sa.insert(audit), rows)
    _index(connection, records)


def _index(connection: sa.Connection, records: Sequence[Record]) -> None:
    """Add the records to the tables by which filters find them."""
    jobs = {(job, record.request_id) for record in records for job in record.jobs}
    runs = [(record, record.job) for record in records if record.job is not None]
    uws = {(job.uws_id, job.job_id, job.submitted_at) for _, job in runs if job.uws_id is not None}
    nodes = {(node, x.source, x.id): None for x, job in runs for node in job.nodes}
    for table, columns, rows in (
        (audit_jobs, ("job_id", "request_id"), sorted(jobs)),
        (audit_uws, ("uws_id", "job_id", "submitted_at"), sorted(uws)),
        (audit_nodes, ("node", "source", "id"), list(nodes)),
    ):
        if rows:
            connection.execute(
                insert(connection.dialect.name, table).on_conflict_do_nothing(),
                [dict(zip(columns, row, strict=True)) for row in rows],
            )
