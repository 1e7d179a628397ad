"""Verifies the hash chain: follows records in order and reports each that was changed. Pure.

A record's own hash covers its content; the hash of the record before it fixes its place.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from workers.audit.record import GENESIS, HASHED, chained

# seq, prev_hash, hash, the columns of HASHED, body; values of any type, as the database returns them
Row: TypeAlias = tuple[Any, ...]
COLUMNS = ("seq", "prev_hash", "hash", *HASHED, "body")
_ID = 3 + HASHED.index("id")


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """One problem found in the log; `seq` and `id` of the record, as it is now, if it is about one."""

    seq: int | None
    id: str | None
    problem: str


class Chain:
    """Follows the chain over any number of rows, without keeping them.

    `seq_of` returns the number of the record with this hash, or None; it is called only at a broken
    link. `is_seal` tests whether a row is a valid seal of the records before it, with which a log may
    begin. Record numbers of a `numbered` log must have no gaps.

    Attributes:
        records: how many records were followed.
        first: the number of the first record.
        seq, hash: number and hash of the last record.
    """

    def __init__(
        self,
        seq_of: Callable[[bytes], int | None],
        is_seal: Callable[[Row], bool],
        *,
        numbered: bool,
    ) -> None:
        self._seq_of = seq_of
        self._is_seal = is_seal
        self._numbered = numbered
        # hashes that the next record may name as its predecessor: more than one after an altered record
        self._before: tuple[bytes | None, ...] = ()
        self.records = 0
        self.first: int | None = None
        self.seq = 0
        self.hash = GENESIS

    def follow(self, rows: Iterable[Row]) -> Iterator[ChainProblem]:
        """Follow these rows, and yield what is wrong with them."""
        for row in rows:
            seq, previous, hash_, body = row[0], row[1], row[2], row[-1]
            own = _hash(previous, row[3:-1], body)
            if own != hash_ or previous not in self._before or self._skips_a_number(seq):
                yield from self._explain(row, own)
            if own == hash_:
                self._before = (hash_,)
            else:  # the next record still names the hash from before the alteration
                self._before = (hash_, own, *(_hash(p, row[3:-1], body) for p in self._before))
            self.records += 1
            if self.first is None:
                self.first = seq
            self.seq, self.hash = seq, hash_

    def _skips_a_number(self, seq: int) -> bool:
        return self._numbered and self._before != () and seq != self.seq + 1

    def _explain(self, row: Row, own: bytes | None) -> Iterator[ChainProblem]:
        seq, previous, hash_ = row[0], row[1], row[2]
        problem = None
        if own != hash_:
            problem = "was altered"
        elif not self._before:
            if previous != GENESIS and not self._is_seal(row):
                problem = "is the first, but is neither the start of the log nor a seal: earlier records are missing"
        elif previous not in self._before:
            problem = f"does not follow record {self.seq}: records between them were removed, or one of the two was replaced"
            if (elsewhere := self._seq_of(previous)) is not None:
                problem = (
                    f"follows record {elsewhere}, but comes after record {self.seq}: out of order"
                )
        elif self._skips_a_number(seq):
            problem = f"follows record {self.seq}, but its number was changed"
        if problem is not None:
            id_ = row[_ID]
            yield ChainProblem(seq, str(id_), f"record {seq} ({id_}) {problem}")


def _hash(previous: Any, columns: Row, body: Any) -> bytes | None:  # noqa: ANN401 - any type
    """The hash; None if the values have types that no record has."""
    try:
        return chained(previous, columns, body)
    except (TypeError, ValueError):
        return None
