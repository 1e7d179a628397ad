"""Writes the audit log: append-only, each record's hash covers the one before.

UNIQUE(prev_hash) makes the chain a chain, whatever the broker says about who consumes. So that
two writers need not meet there, they stand in line: on SQLite by BEGIN IMMEDIATE, on PostgreSQL by
an advisory lock (unlike a table lock it needs no more than the right to insert).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from workers.audit.record import GENESIS, Record
from workers.store.tables import audit, audit_jobs, audit_nodes, audit_uws
from workers.store.upsert import insert

_ATTEMPTS = 3
_LINE = sa.text("SELECT pg_advisory_xact_lock(hashtext('lamplighter.audit'))")
_KEYS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch.

    Attributes:
        recorded: how many are new.
        folded: how many were there already.
        conflicts: those whose id a record of another type has; this must never happen.
    """

    recorded: int
    folded: int
    conflicts: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class End:
    """What the log ends with."""

    seq: int
    hash: bytes
    recorded_at: int


def append(engine: sa.Engine, records: Sequence[Record]) -> Appended:
    """Write what is new of `records`, in order and in one transaction.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the store is away, or writers that stand in no line were faster.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            with engine.begin() as connection:
                return append_within(connection, records)
        except sa.exc.IntegrityError:
            continue  # another writer followed the same head
    with engine.begin() as connection:
        return append_within(connection, records)


def stand_in_line(connection: sa.Connection) -> None:
    """Wait until no other writer is at work; nobody writes before this transaction's end."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LINE)


def append_within(connection: sa.Connection, records: Sequence[Record]) -> Appended:
    """As `append`, within the caller's transaction."""
    stand_in_line(connection)
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
        _remember_jobs(connection, new)
        _remember_uws(connection, new)
        _remember_nodes(connection, new)
    return Appended(len(new), len(records) - len(new), tuple(conflicts))


def _types(
    connection: sa.Connection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The types of those of `keys` that the log holds."""
    found: dict[tuple[str, str], str] = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        query = sa.select(audit.c.source, audit.c.id, audit.c.type).where(
            sa.tuple_(audit.c.source, audit.c.id).in_(keys[start : start + _KEYS_PER_QUERY])
        )
        for source, id_, type_ in connection.execute(query):
            found[source, id_] = type_
    return found


def last(connection: sa.Connection) -> End | None:
    """The last record; None where there is none."""
    query = sa.select(audit.c.seq, audit.c.hash, audit.c.recorded_at)
    row = connection.execute(query.order_by(audit.c.seq.desc()).limit(1)).first()
    return None if row is None else End(*row)


def _head(connection: sa.Connection) -> bytes:
    found = last(connection)
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


def _remember_jobs(connection: sa.Connection, records: Iterable[Record]) -> None:
    pairs = {(job, record.request_id) for record in records for job in record.jobs}
    if pairs:
        connection.execute(
            insert(connection, audit_jobs).on_conflict_do_nothing(),
            [{"job_id": job, "request_id": request} for job, request in sorted(pairs)],
        )


def _remember_uws(connection: sa.Connection, records: Iterable[Record]) -> None:
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


def _remember_nodes(connection: sa.Connection, records: Iterable[Record]) -> None:
    told = [
        {"node": node, "source": record.source, "id": record.id}
        for record in records
        if record.job is not None
        for node in dict.fromkeys(record.job.nodes)
    ]
    if told:
        connection.execute(insert(connection, audit_nodes).on_conflict_do_nothing(), told)
