"""Does the chain hold? Follows records in their order and names each that is not as it was written. Pure.

A record is known by what its own hash covers; its place by the hash of the one before.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from workers.audit.record import GENESIS, HASHED, chained

# seq, prev_hash, hash, the columns of HASHED, body; as the database has them, of whatever kind
Row: TypeAlias = tuple[Any, ...]
COLUMNS = ("seq", "prev_hash", "hash", *HASHED, "body")
_ID = 3 + HASHED.index("id")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        seq: the record's number, or None where it is about no one record.
        id: the record's, as it stands there now.
        problem: in words.
    """

    seq: int | None
    id: str | None
    problem: str


class Chain:
    """Follows the chain; any number of rows, none of which is kept.

    Args:
        seq_of: the number of the record that has this hash, or None; asked only where a link breaks.
        numbered: whether each number must be the one before plus one.
        seal: whether a row is a seal, by which a log may begin, and vouches for what came before.

    Attributes:
        records: how many were followed.
        seq, hash: the last one's.
        first: the number of the first.
    """

    def __init__(
        self,
        seq_of: Callable[[bytes], int | None],
        seal: Callable[[Row], bool],
        *,
        numbered: bool,
    ) -> None:
        self._seq_of = seq_of
        self._seal = seal
        self._numbered = numbered
        # hashes that the next record may say it follows: two after one that was altered
        self._before: tuple[bytes | None, ...] = ()
        self.records = 0
        self.first: int | None = None
        self.seq = 0
        self.hash = GENESIS

    def start_after(self, seq: int, hash_: bytes) -> None:
        """Begin behind a record that is known to be right."""
        self._before, self.seq, self.hash = (hash_,), seq, hash_

    def follow(self, rows: Iterable[Row]) -> Iterator[Finding]:
        """Go on with these rows; what is wrong with them."""
        for row in rows:
            seq, previous, hash_, body = row[0], row[1], row[2], row[-1]
            own = _hash(previous, row[3:-1], body)
            if own != hash_ or previous not in self._before or self._jumps(seq):
                yield from self._explain(row, own)
            if own == hash_:
                self._before = (hash_,)
            else:  # whatever was altered of it, the next follows what it was before
                self._before = (hash_, own, *(_hash(p, row[3:-1], body) for p in self._before))
            self.records += 1
            if self.first is None:
                self.first = seq
            self.seq, self.hash = seq, hash_

    def _jumps(self, seq: int) -> bool:
        return self._numbered and self._before != () and seq != self.seq + 1

    def _explain(self, row: Row, own: bytes | None) -> Iterator[Finding]:
        seq, previous, hash_ = row[0], row[1], row[2]
        if own != hash_:
            yield _finding(row, "was altered")
        elif not self._before:
            if previous != GENESIS and not self._seal(row):
                yield _finding(
                    row,
                    "is the first, but neither the log's beginning nor a seal: more came before",
                )
        elif previous not in self._before:
            elsewhere = self._seq_of(previous)
            yield _finding(
                row,
                f"follows record {elsewhere}, and stands after record {self.seq}: out of order"
                if elsewhere is not None
                else f"does not follow record {self.seq}: what stood between was removed, "
                "or one of the two was replaced",
            )
        elif self._jumps(seq):
            yield _finding(row, f"follows record {self.seq}, and was given another number")


def _hash(previous: Any, columns: Row, body: Any) -> bytes | None:  # noqa: ANN401 - as found
    """The hash; None where the values are of kinds that no record has."""
    try:
        return chained(previous, columns, body)
    except (TypeError, ValueError):
        return None


def _finding(row: Row, problem: str) -> Finding:
    return Finding(row[0], str(row[_ID]), f"record {row[0]} ({row[_ID]}) {problem}")
