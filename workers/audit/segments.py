"""Segments of the log: a seal ends one, and only whole sealed ones are ever dropped.

A seal is a record like any other, behind the last one of its segment. It is signed and says what that
was: when the segment is gone, the log begins with the seal, which vouches for all before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schemas import ids
from schemas.envelope import Envelope, Fields, parse, rfc3339
from schemas.errors import MalformedMessageError
from workers.audit.chain import Chain
from workers.audit.log import append_within, last, stand_in_line
from workers.audit.record import own_record
from workers.audit.signing import Signer, Trusted
from workers.errors import LamplighterError
from workers.store.tables import audit, audit_jobs, audit_nodes

SEALED = "lamplighter.audit.sealed.v1"
PRUNED = "lamplighter.audit.pruned.v1"


class NotSealedError(LamplighterError):
    """Nothing was sealed; the text says why."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does something to the log of which cluster, when (ns since the epoch), and why."""

    cluster: str
    by: str
    time: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal in the log.

    Attributes:
        seq: its own number.
        segment: from 1.
        first, last: the numbers of the segment's records.
        records: how many there have been since the log began.
        last_hash: of the last, in hex.
        last_time: when the last was recorded, ns since the epoch.
        statement: all of it, as signed.
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
    """The seal in a record's body.

    Raises:
        MalformedMessageError: it is none.
    """
    said = parse(body).data
    fields = Fields(said, "data.")
    return Seal(
        seq=seq,
        segment=fields.number("segment", least=1),
        first=fields.number("first", least=1),
        last=fields.number("last", least=1),
        records=fields.number("records"),
        last_hash=fields.text("last_hash"),
        last_time=fields.number("last_time"),
        statement=said,
    )


def vouches(type_: object, previous: object, body: object, trusted: Trusted) -> bool:
    """Whether a record, as the database has it, is a seal of ours over what ended with `previous`."""
    if type_ != SEALED or not isinstance(previous, bytes) or not isinstance(body, bytes):
        return False
    try:
        seal = seal_from(0, body)
    except MalformedMessageError:
        return False
    return seal.last_hash == previous.hex() and trusted.problem(SEALED, seal.statement) is None


def seals(connection: sa.Connection) -> list[Seal]:
    """All seals of the log, the oldest first."""
    query = (
        sa.select(audit.c.seq, audit.c.body)
        .where(audit.c.type == SEALED, audit.c.transition.is_(None))
        .order_by(audit.c.seq)
    )
    return [seal_from(seq, body) for seq, body in connection.execute(query)]


def seal(engine: sa.Engine, signer: Signer, deed: Deed, verified: Chain) -> Seal:
    """End the segment behind the record that `verified` has come to.

    Raises:
        NotSealedError: there is nothing to seal, or the log has changed meanwhile.
        sqlalchemy.exc.SQLAlchemyError: the store is away.
    """
    with engine.begin() as connection:
        stand_in_line(connection)
        end = last(connection)
        known = seals(connection)
        before = known[-1] if known else None
        if end is None or (before is not None and end.seq == before.seq):
            raise NotSealedError("nothing was recorded since the last seal")
        if end.hash != verified.hash:
            raise NotSealedError("more was recorded meanwhile; do it again")
        first = before.seq if before is not None else verified.first
        segment = before.segment + 1 if before is not None else 1
        said = {
            "cluster": deed.cluster,
            "segment": segment,
            "first": first,
            "last": end.seq,
            "records": verified.records + (before.records if before is not None else 0),
            "last_hash": end.hash.hex(),
            "last_time": end.recorded_at,
            "time": rfc3339(deed.time),
            "by": deed.by,
        }
        _record(connection, deed, SEALED, f"segment {segment}", signer.sign(SEALED, said))
        return seals(connection)[-1]


def prune(engine: sa.Engine, through: Seal, deed: Deed) -> int:
    """Drop all segments up to a seal, which stays, and record who did so; how many records went.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the store is away; nothing was dropped.
    """
    older = audit.c.seq < through.seq
    with engine.begin() as connection:
        stand_in_line(connection)
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
        count = connection.execute(sa.delete(audit).where(older)).rowcount
        said = {
            "segment": through.segment,
            "last": through.last,
            "records": count,
            "by": deed.by,
            "reason": deed.reason,
        }
        _record(connection, deed, PRUNED, f"segment {through.segment}", said)
    return count


def _record(
    connection: sa.Connection, deed: Deed, type_: str, subject: str, data: Mapping[str, object]
) -> None:
    id_ = ids.derived_id(type_, deed.cluster, subject)
    envelope = Envelope(
        id=id_,
        source=deed.cluster,
        type=type_,
        subject=subject,
        time=deed.time,
        generation=0,
        correlation_id=ids.NO_CORRELATION,
        traceparent=ids.traceparent(ids.NO_CORRELATION, id_),
        data=data,
    )
    append_within(connection, [own_record(envelope.to_json(), deed.time)])
