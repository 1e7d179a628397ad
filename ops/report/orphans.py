"""Finds orphan nodes by the requests that powered them off."""

import sqlalchemy as sa

from ops.report.outcome import unreadable
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Transition, event_from
from workers.resync.plan import ORPHAN_NOTE
from workers.store.tables import audit


def orphans(connection: sa.Connection, begin: int, end: int) -> frozenset[str]:
    """The orphan nodes found in this time (ns), each once even if its repair was requested repeatedly.

    A MalformedMessageError names a record that cannot be parsed.
    """
    query = sa.select(audit.c.seq, audit.c.body).where(
        audit.c.transition == str(Transition.ACCEPTED),
        audit.c.time >= begin,
        audit.c.time < end,
        # searched by the database: parsing all accepted requests would double the time of a report
        _position(connection, ORPHAN_NOTE.encode()) > 0,
    )
    found = set()
    for seq, body in connection.execute(query):
        try:
            event = event_from(parse(body))
        except MalformedMessageError as error:
            raise unreadable(seq, str(error)) from None
        if event.kind is Kind.SUSPEND and ORPHAN_NOTE in (event.note or ""):
            found.add(event.node)
    return frozenset(found)


def _position(connection: sa.Connection, text: bytes) -> sa.ColumnElement[int]:
    """The position of these bytes in a body, from 1; 0 if they are not in it."""
    sought = sa.literal(text, sa.LargeBinary)
    if connection.dialect.name == "postgresql":
        return sa.func.pg_catalog.position(audit.c.body, sought, type_=sa.Integer)
    return sa.func.instr(audit.c.body, sought, type_=sa.Integer)
