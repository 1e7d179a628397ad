"""Reads the log for verification, and compares it with signed heads."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from producers.batched import batched
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.fields import shown
from workers.audit.chain import COLUMNS, Chain, ChainProblem, Row
from workers.audit.heads import TYPE, Head, head_from
from workers.audit.queries import last_seq
from workers.audit.segments import PRUNED, is_trusted_seal, seals
from workers.audit.signing import Trusted
from workers.store.tables import audit

_PORTION_SIZE = 2000
# Plain SQL: values as they are stored, even if their types were changed.
_READ = sa.text(
    f"SELECT {', '.join(COLUMNS)} FROM audit WHERE seq > :after ORDER BY seq LIMIT :most"  # noqa: S608 - our own names
)
_TYPE, _PREVIOUS, _BODY = COLUMNS.index("type"), 1, -1


def chain_of(connection: sa.Connection, trusted: Trusted) -> Chain:
    """A chain at its start."""

    def seq_of(hash_: bytes) -> int | None:
        query = sa.text("SELECT seq FROM audit WHERE hash = :hash")
        return connection.execute(query, {"hash": hash_}).scalar()

    def is_seal(row: Row) -> bool:
        return is_trusted_seal(row[_TYPE], row[_PREVIOUS], row[_BODY], trusted)

    # on PostgreSQL, rolled back inserts leave gaps in the numbers
    return Chain(seq_of, is_seal, numbered=connection.dialect.name == "sqlite")


def rows(
    connection: sa.Connection, after: int, most: int = _PORTION_SIZE
) -> Iterator[Sequence[Row]]:
    """The records after that number, in order; in portions, so that no query holds up writers."""
    if connection.dialect.name == "postgresql":
        _use_binary_cursor(connection)
    while portion := _portion(connection, after, most):
        yield portion
        after = portion[-1][0]


def _portion(connection: sa.Connection, after: int, most: int) -> Sequence[Row]:
    arguments = {"after": after, "most": most}
    try:
        return [tuple(row) for row in connection.execute(_READ, arguments)]
    except sa.exc.OperationalError:
        raw = connection.connection.dbapi_connection
        if connection.dialect.name != "sqlite" or raw is None:
            raise
        # a text was changed to invalid UTF-8: read it anyway, so that its record can be reported
        raw.text_factory = lambda data: data.decode(errors="surrogateescape")
        try:
            return [tuple(row) for row in connection.execute(_READ, arguments)]
        finally:
            raw.text_factory = str


def _use_binary_cursor(connection: sa.Connection) -> None:
    """Request values in binary: decoding bytes from psycopg's text form takes a third more time."""
    from psycopg import Cursor, pq  # noqa: PLC0415 - needed for PostgreSQL only

    class BinaryCursor(Cursor[Row]):
        """A cursor that requests binary values."""

        def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as in the base class
            super().__init__(*arguments, **options)
            self.format = pq.Format.BINARY

    raw = connection.connection.dbapi_connection
    if raw is not None:
        raw.cursor_factory = BinaryCursor


class Heads:
    """Compares signed heads with the log.

    `held` is how many heads match their record, `dropped` how many name a record that was dropped
    under a seal.
    """

    def __init__(self, connection: sa.Connection, trusted: Trusted) -> None:
        self._connection = connection
        self._trusted = trusted
        self._last = last_seq(connection)
        self._dropped_through = _dropped_through(connection)
        self.held = 0
        self.dropped = 0

    def compare(self, lines: Iterable[str], source: str) -> Iterator[ChainProblem]:
        """Yield what is wrong with these heads, one a line, or with the log according to them.

        Messages name the `source` of the heads.
        """
        signed: list[Head] = []
        for number, line in enumerate(lines, 1):
            try:
                head = head_from(line)
                problem = self._trusted.problem(TYPE, head.statement)
            except MalformedMessageError as error:
                problem = str(error)
            if problem is None:
                signed.append(head)
            else:
                yield ChainProblem(None, None, f"{source}, head {number}: {problem}")
        for some in batched(signed):
            yield from self._look_up(some)

    def _look_up(self, heads: Sequence[Head]) -> Iterator[ChainProblem]:
        same = audit.c.seq.in_([head.seq for head in heads])
        query = sa.select(audit.c.seq, audit.c.hash).where(same)
        found = {seq: bytes(hash_).hex() for seq, hash_ in self._connection.execute(query)}
        for head in heads:
            now, signed = found.get(head.seq), f"signed at {head.time}"
            if now == head.hash:
                self.held += 1
            elif now is None and head.seq <= self._dropped_through:
                self.dropped += 1
            else:
                problem = f"is not the one that was {signed}: the log was rewritten"
                if now is None:
                    problem = f"was {signed} and is missing: the log ends with record {self._last}"
                yield ChainProblem(head.seq, None, f"record {head.seq} {problem}")


def dropping(connection: sa.Connection, trusted: Trusted) -> tuple[str | None, list[ChainProblem]]:
    """Who dropped the beginning of the log, when and why, as signed; and what is wrong with that."""
    through = _dropped_through(connection)
    if through == 0:
        return None, []
    query = sa.select(audit.c.seq, audit.c.body).where(audit.c.type == PRUNED)
    problem = "no record says who dropped the records before it"
    for seq, body in connection.execute(query.order_by(audit.c.seq.desc())):
        try:
            said = parse(body).data
        except MalformedMessageError:
            continue
        if said.get("last") != through:
            continue
        wrong = trusted.problem(PRUNED, said)
        if wrong is None:
            words = f"{said.get('time')} by {shown(said.get('by'))}: {shown(said.get('reason'))}"
            return f"records up to {through} were dropped {words}", []
        problem = f"record {seq}, which says who dropped the records before it: {wrong}"
    return None, [
        ChainProblem(through + 1, None, f"the log begins after record {through}, and {problem}")
    ]


def _dropped_through(connection: sa.Connection) -> int:
    """The last record that the seal covers with which the log begins; 0 if it begins with another.

    Also 0 if the first seal cannot be parsed: following the chain reports that.
    """
    first = connection.scalar(sa.select(sa.func.min(audit.c.seq)))
    try:
        return next((seal.last for seal in seals(connection) if seal.seq == first), 0)
    except MalformedMessageError:
        return 0
