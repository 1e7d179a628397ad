"""A report, ready to be printed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ops.cli.files import cell_of
from ops.cli.session import Session
from ops.cli.terminal import moment
from ops.report.history import histories
from ops.report.inputs import outcomes, places
from ops.report.orphans import orphans
from ops.report.question import NOBODY, PERSONAL, Allocation, Question
from ops.report.runs import said
from ops.report.strays import strays
from ops.report.sums import UsageRow, rows, total

BINS = 48
_HOUR = 3600 * 10**9
_TIMES = ("lit", "booting", "allocated", "idle", "untold", "spared", "saved", "visible")


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a time, ns since the epoch."""

    begin: int
    end: int
    by: str
    rows: tuple[UsageRow, ...]
    total: UsageRow

    @property
    def personal(self) -> bool:
        """Whether the rows are people's or jobs': what nobody used is saved for none of them."""
        return self.by in PERSONAL

    @property
    def begin_words(self) -> str:
        """When it begins."""
        return moment(self.begin)

    @property
    def end_words(self) -> str:
        """When it ends."""
        return moment(self.end)

    @property
    def columns(self) -> tuple[str, ...]:
        """What `cells` are; hours but for nodes, boots, orphans and strays."""
        names = [self.by, "nodes", "boots", "failed", "lit", "booting"]
        if self.total.allocated is not None:
            names += ["allocated", "idle"]
        if self.total.allocated is not None and self.total.untold:
            names += ["untold"]
        if self.total.spared is not None:
            names += ["spared"]
        if not self.personal:
            names += ["saved", "visible", "orphans", "strays"]
        return tuple(names)

    @property
    def cells(self) -> list[tuple[object, ...]]:
        """The rows and their sum."""
        return [
            tuple(_cells(row)[name] for name in ("key", *self.columns[1:]))
            for row in (*self.rows, self.total)
        ]

    def as_json(self) -> dict[str, object]:
        """All of it; seconds, exact."""
        return {
            "from": self.begin_words,
            "to": self.end_words,
            "by": self.by,
            "rows": [self._exact(row) for row in self.rows],
            "total": self._exact(self.total),
        }

    def _exact(self, row: UsageRow) -> dict[str, object]:
        values = {name: getattr(row, name) for name in _TIMES}
        exact: dict[str, object] = {
            "key": row.key,
            "nodes": len(row.nodes),
            "boots": round(row.boots, 6),
            "boots_failed": round(row.boots_failed, 6),
            **{f"{n}_seconds": None if v is None else round(v / 1e9, 3) for n, v in values.items()},
        }
        return exact if self.personal else {**exact, "orphans": row.orphans, "strays": row.strays}


def make(  # noqa: PLR0913 - what is asked
    session: Session,
    begin: int,
    end: int,
    by: str,
    allocations: Sequence[Allocation] | None = None,
    *,
    suspend_time: int | None = None,
) -> Report:
    """Read and sum; times are ns. Where no allocations are given, what the audit has of jobs' runs stands in.

    Raises:
        MalformedMessageError: a record cannot be read; it is named.
        StoreMissingError, sqlalchemy.exc.SQLAlchemyError: the audit's store is away.
    """
    end = min(end, time.time_ns())  # what is to come is neither lit nor saved
    with session.reading("audit") as connection:
        known = histories(outcomes(connection, begin, end), end)
        asked = Question(begin, end, by, places(session.settings), allocations, suspend_time)
        if allocations is None and (told := said(connection, known, begin, end)) is not None:
            asked = replace(asked, allocations=told.allocations, heard=told.heard)
        if by not in PERSONAL:  # nobody's row tells of them
            asked = replace(
                asked,
                orphans=orphans(connection, begin, end),
                strays=strays(connection, begin, end),
            )
    found = rows(known, asked, BINS)
    return Report(begin, end, by, tuple(found), total(found, BINS))


def hours(ns: float | None) -> str | None:
    """Hours, to the hundredth; None stays None."""
    return None if ns is None else f"{ns / _HOUR:.2f}"


def _cells(row: UsageRow) -> dict[str, object]:
    return {
        "key": row.key if row.key == NOBODY else cell_of(row.key),
        "nodes": len(row.nodes),
        "boots": _count(row.boots),
        "failed": _count(row.boots_failed),
        **{name: hours(getattr(row, name)) for name in _TIMES},
        "orphans": row.orphans,
        "strays": row.strays,
    }


def _count(value: float) -> object:
    """Boots are whole, but where jobs share one."""
    return f"{value:.2f}" if value % 1 else int(value)
