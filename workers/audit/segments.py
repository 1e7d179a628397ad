"""Segments of the log: a seal ends a segment, and only whole sealed segments are dropped.

A seal is a record after the last one of its segment; it is signed and describes the segment. Once
the segment is dropped, the log begins with the seal, which proves what came before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schemas import ids
from schemas.envelope import parse, rfc3339
from schemas.errors import MalformedMessageError
from schemas.fields import Fields
from schemas.jobs import JOB_TRANSITIONS
from workers.audit.chain import Chain
from workers.audit.log import append_within, last_record, lock_log
from workers.audit.record import log_record
from workers.audit.signing import Signer, Trusted
from workers.errors import LamplighterError
from workers.store.tables import audit, audit_jobs, audit_nodes, audit_uws

SEALED = "lamplighter.audit.sealed.v1"
PRUNED = "lamplighter.audit.pruned.v1"


class NotSealedError(LamplighterError):
    """The segment was not sealed; the message says why."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who seals or prunes the log of which cluster, when (ns since the epoch), and why."""

    cluster: str
    operator: str
    time: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal in the log.

    Attributes:
        seq: the number of the seal's own record.
        segment: counted from 1.
        first, last: the numbers of the segment's first and last record.
        records: how many records were written since the log began.
        last_hash: the hash of the last record, in hex.
        last_time: when the last record was written, ns since the epoch.
        statement: the whole signed statement.
    """

    seq: int
    segment: int
    first: int
    last: int
    records: int
    last_hash: str
    last_time: int
    statement: Mapping[str, Any]


def seal_from(seq: int, body: bytes) -> Seal:
    """The seal in a record's body; MalformedMessageError if the body does not hold a seal."""
    statement = parse(body).data
    fields = Fields(statement, "data.")
    return Seal(
        seq=seq,
        segment=fields.number("segment", least=1),
        first=fields.number("first", least=1),
        last=fields.number("last", least=1),
        records=fields.number("records"),
        last_hash=fields.text("last_hash"),
        last_time=fields.number("last_time"),
        statement=statement,
    )


def is_trusted_seal(type_: object, previous: object, body: object, trusted: Trusted) -> bool:
    """Whether a record is a seal of the records up to hash `previous`, signed with a trusted key."""
    if type_ != SEALED or not isinstance(previous, bytes) or not isinstance(body, bytes):
        return False
    try:
        seal = seal_from(0, body)
    except MalformedMessageError:
        return False
    return seal.last_hash == previous.hex() and trusted.problem(SEALED, seal.statement) is None


def seals(connection: sa.Connection) -> list[Seal]:
    """All seals in the log, the oldest first."""
    query = sa.select(audit.c.seq, audit.c.body).order_by(audit.c.seq)
    found = query.where(audit.c.type == SEALED, audit.c.transition.is_(None))
    return [seal_from(seq, body) for seq, body in connection.execute(found)]


def seal(engine: sa.Engine, signer: Signer, by: Attribution, verified: Chain) -> Seal:
    """Seal the segment that ends with the last record that `verified` followed.

    Raises:
        NotSealedError: there is nothing to seal, or new records were written meanwhile.
        sqlalchemy.exc.SQLAlchemyError: the store is unavailable.
    """
    with engine.begin() as connection:
        lock_log(connection)
        end = last_record(connection)
        known = seals(connection)
        before = known[-1] if known else None
        if end is None or (before is not None and end.seq == before.seq):
            raise NotSealedError("nothing was recorded since the last seal")
        if end.hash != verified.hash:
            raise NotSealedError("new records were written meanwhile; run the command again")
        segment, first, records = 1, verified.first, verified.records
        if before is not None:
            segment, first = before.segment + 1, before.seq
            records += before.records
        statement = {
            "cluster": by.cluster,
            "segment": segment,
            "first": first,
            "last": end.seq,
            "records": records,
            "last_hash": end.hash.hex(),
            "last_time": end.recorded_at,
            "time": rfc3339(by.time),
            "by": by.operator,
        }
        _record(connection, by, SEALED, f"segment {segment}", signer.sign(SEALED, statement))
        return seals(connection)[-1]


def prune(engine: sa.Engine, signer: Signer, through: Seal, by: Attribution) -> int:
    """Drop all segments up to a seal, which stays, and sign who did it; returns how many records.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the store is unavailable; nothing was dropped.
    """
    older = audit.c.seq < through.seq
    with engine.begin() as connection:
        lock_log(connection)
        kept = (
            sa.select(audit.c.seq)
            .where(audit.c.request_id == audit_jobs.c.request_id, audit.c.seq >= through.seq)
            .correlate(audit_jobs)
        )
        gone = sa.select(audit.c.request_id).where(older, audit.c.request_id.is_not(None))
        connection.execute(
            sa.delete(audit_jobs).where(audit_jobs.c.request_id.in_(gone), ~kept.exists())
        )
        named = sa.select(audit.c.id).where(
            older, audit.c.source == audit_nodes.c.source, audit.c.id == audit_nodes.c.id
        )
        connection.execute(sa.delete(audit_nodes).where(named.correlate(audit_nodes).exists()))
        told = sa.select(audit.c.seq).where(
            audit.c.seq >= through.seq,
            audit.c.subject == sa.cast(audit_uws.c.job_id, sa.Text),
            audit.c.type.in_(JOB_TRANSITIONS),
        )
        connection.execute(sa.delete(audit_uws).where(~told.correlate(audit_uws).exists()))
        count = connection.execute(sa.delete(audit).where(older)).rowcount
        dropped = {"segment": through.segment, "last": through.last, "records": count}
        data = {**dropped, "time": rfc3339(by.time), "by": by.operator, "reason": by.reason}
        signed = signer.sign(PRUNED, data)
        _record(connection, by, PRUNED, f"segment {through.segment}", signed)
    return count


def _record(
    connection: sa.Connection, by: Attribution, type_: str, subject: str, data: Mapping[str, object]
) -> None:
    id_ = ids.derived_id(type_, by.cluster, subject)
    append_within(connection, [log_record(type_, id_, by.cluster, subject, data, by.time)])
