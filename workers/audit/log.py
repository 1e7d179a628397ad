"""Appends to the audit log; the hash of each record covers the hash of the one before.

UNIQUE(prev_hash) guarantees a single chain, even if the broker lets two workers consume. To avoid
that conflict, writers take turns: on SQLite by BEGIN IMMEDIATE, on PostgreSQL by an advisory lock
(unlike a table lock, it needs only the right to insert).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from workers.audit.record import GENESIS, Record
from workers.store.tables import audit, audit_jobs, audit_nodes, audit_uws
from workers.store.upsert import insert

_ATTEMPTS = 3
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('lamplighter.audit'))")
_KEYS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class Appended:
    """The result of appending a batch.

    Attributes:
        recorded: how many records were new.
        folded: how many were already in the log.
        conflicts: records whose id belongs to a record of another type; this must never happen.
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
        connection.execute(sa.insert(audit), list(_rows(_head(connection), new)))
        _index_jobs(connection, new)
        _index_uws(connection, new)
        _index_nodes(connection, new)
    return Appended(len(new), len(records) - len(new), tuple(conflicts))


def _types(
    connection: sa.Connection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The types of the records in the log that have one of these keys (source, id)."""
    found: dict[tuple[str, str], str] = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        query = sa.select(audit.c.source, audit.c.id, audit.c.type).where(
            sa.tuple_(audit.c.source, audit.c.id).in_(keys[start : start + _KEYS_PER_QUERY])
        )
        for source, id_, type_ in connection.execute(query):
            found[source, id_] = type_
    return found


def last_record(connection: sa.Connection) -> LogEnd | None:
    """The last record; None if the log is empty."""
    query = sa.select(audit.c.seq, audit.c.hash, audit.c.recorded_at)
    row = connection.execute(query.order_by(audit.c.seq.desc()).limit(1)).first()
    return None if row is None else LogEnd(*row)


def _head(connection: sa.Connection) -> bytes:
    found = last_record(connection)
    return GENESIS if found is None else found.hash


def _rows(previous: bytes, records: Iterable[Record]) -> Iterable[dict[str, object]]:
    for record in records:
        hash_ = record.chained(previous)
        yield {
            "source": record.source,
            "id": record.id,
            "type": record.type,
            "time": record.time,
            "recorded_at": record.recorded_at,
            "subject": record.subject,
            "request_id": record.request_id,
            "round": record.round,
            "transition": record.transition,
            "generation": record.generation,
            "correlation_id": record.correlation_id,
            "body": record.body,
            "prev_hash": previous,
            "hash": hash_,
        }
        previous = hash_


def _index_jobs(connection: sa.Connection, records: Iterable[Record]) -> None:
    pairs = {(job, record.request_id) for record in records for job in record.jobs}
    if pairs:
        connection.execute(
            insert(connection, audit_jobs).on_conflict_do_nothing(),
            [{"job_id": job, "request_id": request} for job, request in sorted(pairs)],
        )


def _index_uws(connection: sa.Connection, records: Iterable[Record]) -> None:
    known = {
        (job.uws_id, job.job_id, job.submitted_at)
        for record in records
        if (job := record.job) is not None and job.uws_id is not None
    }
    if known:
        connection.execute(
            insert(connection, audit_uws).on_conflict_do_nothing(),
            [
                {"uws_id": uws_id, "job_id": job_id, "submitted_at": submitted_at}
                for uws_id, job_id, submitted_at in sorted(known)
            ],
        )


def _index_nodes(connection: sa.Connection, records: Iterable[Record]) -> None:
    found = [
        {"node": node, "source": record.source, "id": record.id}
        for record in records
        if record.job is not None
        for node in dict.fromkeys(record.job.nodes)
    ]
    if found:
        connection.execute(insert(connection, audit_nodes).on_conflict_do_nothing(), found)
