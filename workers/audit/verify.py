"""Reads the log for verification, as the database has it, and compares it with signed heads."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from schemas.errors import MalformedMessageError
from workers.audit.chain import COLUMNS, Chain, Finding, Row
from workers.audit.heads import TYPE, Head, head_from
from workers.audit.segments import Seal, seals, vouches
from workers.audit.signing import Trusted
from workers.store.tables import audit

_ROWS = 2000
_PER_QUERY = 500
# Plain text: the values as they are, of whatever kind somebody may have made them.
_READ = sa.text(
    f"SELECT {', '.join(COLUMNS)} FROM audit WHERE seq > :after ORDER BY seq LIMIT :most"  # noqa: S608 - our own names
)
_TYPE, _PREVIOUS, _BODY = COLUMNS.index("type"), 1, -1


def chain_of(connection: sa.Connection, trusted: Trusted) -> Chain:
    """A chain that has yet to be followed."""

    def seq_of(hash_: bytes) -> int | None:
        query = sa.text("SELECT seq FROM audit WHERE hash = :hash")
        return connection.execute(query, {"hash": hash_}).scalar()

    def seal(row: Row) -> bool:
        return vouches(row[_TYPE], row[_PREVIOUS], row[_BODY], trusted)

    # PostgreSQL's numbers skip what was rolled back
    return Chain(seq_of, seal, numbered=connection.dialect.name == "sqlite")


def rows(connection: sa.Connection, after: int, most: int = _ROWS) -> Iterator[Sequence[Row]]:
    """The records behind that number, in order, in portions: no reader is long in the way."""
    if connection.dialect.name == "postgresql":
        _read_in_binary(connection)
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
        # a text that is no UTF-8 any more: read it as it is, so that its record can be named
        raw.text_factory = lambda data: data.decode(errors="surrogateescape")
        try:
            return [tuple(row) for row in connection.execute(_READ, arguments)]
        finally:
            raw.text_factory = str


def _read_in_binary(connection: sa.Connection) -> None:
    """Let psycopg ask for values in binary: bytes in its text form take a third more of our time."""
    from psycopg import Cursor, pq  # noqa: PLC0415 - a driver that only PostgreSQL needs

    class InBinary(Cursor[Row]):
        """A cursor that asks so."""

        def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the base's
            super().__init__(*arguments, **options)
            self.format = pq.Format.BINARY

    raw = connection.connection.dbapi_connection
    if raw is not None:
        raw.cursor_factory = InBinary


class Heads:
    """Compares signed heads with the log.

    Attributes:
        held: how many name a record that is there as it was.
        dropped: how many name one that was dropped under a seal.
    """

    def __init__(self, connection: sa.Connection, trusted: Trusted) -> None:
        self._connection = connection
        self._trusted = trusted
        self._first = connection.execute(sa.select(sa.func.min(audit.c.seq))).scalar()
        self._last = connection.execute(sa.select(sa.func.max(audit.c.seq))).scalar() or 0
        self._begin = _first_seal(connection)
        self.held = 0
        self.dropped = 0

    def compare(self, lines: Iterable[str], whence: str) -> Iterator[Finding]:
        """What is wrong with these heads, or with the log by them.

        Args:
            lines: one head each.
            whence: where they come from, for people.
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
                yield Finding(None, None, f"{whence}, head {number}: {problem}")
        for start in range(0, len(signed), _PER_QUERY):
            yield from self._look_up(signed[start : start + _PER_QUERY])

    def _look_up(self, heads: Sequence[Head]) -> Iterator[Finding]:
        query = sa.select(audit.c.seq, audit.c.hash).where(
            audit.c.seq.in_([head.seq for head in heads])
        )
        found = {seq: bytes(hash_).hex() for seq, hash_ in self._connection.execute(query)}
        for head in heads:
            now = found.get(head.seq)
            if now == head.hash:
                self.held += 1
            elif now is not None:
                yield Finding(
                    head.seq,
                    None,
                    f"record {head.seq} is not the one that was signed at {head.time}: "
                    "the log was rewritten",
                )
            elif self._was_dropped(head):
                self.dropped += 1
            else:
                yield Finding(
                    head.seq,
                    None,
                    f"record {head.seq} was signed at {head.time} and is missing: "
                    f"the log ends with record {self._last}",
                )

    def _was_dropped(self, head: Head) -> bool:
        """Whether the seal by which the log begins vouches for what came before."""
        begin = self._begin
        return begin is not None and begin.seq == self._first and head.seq <= begin.last


def _first_seal(connection: sa.Connection) -> Seal | None:
    """None also where a seal cannot be read: whoever follows the chain names it."""
    try:
        return next(iter(seals(connection)), None)
    except MalformedMessageError:
        return None
