"""Nodes that burned although Slurm held them to be powered down, by the requests that put them out."""

import sqlalchemy as sa

from ops.report.outcome import unreadable
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Transition, event_from
from workers.resync.plan import ORPHAN_NOTE
from workers.store.tables import audit


def orphans(connection: sa.Connection, begin: int, end: int) -> frozenset[str]:
    """Those found in this time (ns), each once however often its repair was asked for.

    Raises:
        MalformedMessageError: naming a record that cannot be read.
    """
    query = sa.select(audit.c.seq, audit.c.body).where(
        audit.c.transition == str(Transition.ACCEPTED),
        audit.c.time >= begin,
        audit.c.time < end,
        # sought by the database: they are few, and reading all that was asked would take as long as the report
        _place(connection, ORPHAN_NOTE.encode()) > 0,
    )
    found = set()
    for seq, body in connection.execute(query):
        try:
            told = event_from(parse(body))
        except MalformedMessageError as error:
            raise unreadable(seq, str(error)) from None
        if told.kind is Kind.SUSPEND and ORPHAN_NOTE in (told.note or ""):
            found.add(told.node)
    return frozenset(found)


def _place(connection: sa.Connection, words: bytes) -> sa.ColumnElement[int]:
    """Where these bytes are in a body, from 1; 0 where they are not."""
    sought = sa.literal(words, sa.LargeBinary)
    if connection.dialect.name == "postgresql":
        return sa.func.pg_catalog.position(audit.c.body, sought, type_=sa.Integer)
    return sa.func.instr(audit.c.body, sought, type_=sa.Integer)
