"""Appends to the audit log; the hash of each record covers the hash of the one before.

UNIQUE(prev_hash) guarantees a single chain, even if the broker lets two workers consume. To avoid
that conflict, writers take turns: on SQLite by BEGIN IMMEDIATE, on PostgreSQL by an advisory lock
(unlike a table lock, it needs only the right to insert).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from workers.audit.record import GENESIS, HASHED, Record
from workers.store.chunks import chunks
from workers.store.database import insert
from workers.store.tables import audit, audit_jobs, audit_nodes, audit_uws

_ATTEMPTS = 3
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('lamplighter.audit'))")


@dataclass(frozen=True, slots=True)
class Appended:
    """How many records of a batch were new (`recorded`), and how many in the log already (`folded`).

    `conflicts` are records whose id belongs to a record of another type; this must never happen.
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
        sqlalchemy.exc.SQLAlchemyError: the store is unavailable, or writers that do not take the
            lock were faster.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            with engine.begin() as connection:
                return append_within(connection, records)
        except sa.exc.IntegrityError:
            continue  # another writer appended after the same record
    with engine.begin() as connection:
        return append_within(connection, records)


def lock_log(connection: sa.Connection) -> None:
    """Wait for other writers, and keep them out until the end of this transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)


def append_within(connection: sa.Connection, records: Sequence[Record]) -> Appended:
    """Same as `append`, within the caller's transaction."""
    lock_log(connection)
    types = _types(connection, [(record.source, record.id) for record in records])
    conflicts: list[Record] = []
    new: list[Record] = []
    for record in records:
        known = types.get((record.source, record.id))
        if known is None:
            types[record.source, record.id] = record.type
            new.append(record)
        elif known != record.type:
            conflicts.append(record)
    if new:
        _insert(connection, new)
    return Appended(len(new), len(records) - len(new), tuple(conflicts))


def _types(
    connection: sa.Connection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The types of the records in the log that have one of these keys (source, id)."""
    found: dict[tuple[str, str], str] = {}
    for some in chunks(keys):
        query = sa.select(audit.c.source, audit.c.id, audit.c.type)
        asked = query.where(sa.tuple_(audit.c.source, audit.c.id).in_(some))
        found |= {(row.source, row.id): row.type for row in connection.execute(asked)}
    return found


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
