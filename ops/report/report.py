"""The whole report, ready to print."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ops.cli.files import cell_of
from ops.cli.session import Session
from ops.cli.terminal import moment
from ops.report.history import histories
from ops.report.inputs import outcomes, places
from ops.report.orphans import orphans
from ops.report.question import PERSONAL, UNASSIGNED, Allocation, Question
from ops.report.runs import slurm_reports
from ops.report.strays import strays
from ops.report.sums import rows
from ops.report.usage import UsageRow, total

BINS = 48
_HOUR = 3600 * 10**9
_TIMES = (
    *("powered_on", "booting", "allocated", "idle", "timer", "timer_saved"),
    *("unknown", "suspend_saved", "saved", "visible"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """The report on a time, ns since the epoch; `order` is that of the keys in the configuration."""

    begin: int
    end: int
    by: str
    rows: tuple[UsageRow, ...]
    total: UsageRow
    order: tuple[str, ...] = ()

    @property
    def personal(self) -> bool:
        """Whether the rows are users or jobs: nothing is saved, visible or found for those."""
        return self.by in PERSONAL

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `cells`: hours, except nodes, boots, failed, orphans and strays."""
        names = [self.by, "nodes", "boots", "failed", "powered_on", "booting"]
        if self.total.allocated is not None:
            names += ["allocated", "idle"]
        names += [name for name in ("timer", "timer_saved") if (getattr(self.total, name) or 0) > 0]
        if self.total.allocated is not None and self.total.unknown:
            names += ["unknown"]
        if self.total.suspend_saved is not None:
            names += ["suspend_saved"]
        if not self.personal:
            names += ["saved", "visible", "orphans", "strays"]
        return tuple(names)

    @property
    def cells(self) -> list[tuple[object, ...]]:
        """The rows and the total."""
        return [
            tuple(_cells(row)[name] for name in ("key", *self.columns[1:]))
            for row in (*self.rows, self.total)
        ]

    def as_json(self) -> dict[str, object]:
        """The whole report, with exact seconds."""
        return {
            "from": moment(self.begin),
            "to": moment(self.end),
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


def make_report(  # noqa: PLR0913 - the options of the command
    session: Session,
    begin: int,
    end: int,
    by: str,
    allocations: Sequence[Allocation] | None = None,
    *,
    suspend_time: int | None = None,
) -> Report:
    """Read the audit and add up; times are ns. Default allocations: the jobs' runs in the audit.

    Raises:
        MalformedMessageError: a record cannot be parsed; the message names it.
        StoreMissingError, sqlalchemy.exc.SQLAlchemyError: the audit store is unavailable.
    """
    end = min(end, time.time_ns())  # the future is neither powered on nor saved
    with session.reading("audit") as connection:
        known = histories(outcomes(connection, begin, end), end)
        question = Question(begin, end, by, places(session.settings), allocations, suspend_time)
        if allocations is None and (found := slurm_reports(connection, known, begin, end)):
            runs, times = found.allocations, found.reported_at
            question = replace(
                question,
                allocations=runs,
                reported_at=times,
                start_waits=found.start_waits,
                has_prolog=session.settings.slurm.prolog is not None,
            )
        if by not in PERSONAL:  # these belong to no user and no job
            lost, stray = orphans(connection, begin, end), strays(connection, begin, end)
            question = replace(question, orphans=lost, strays=stray)
    made = rows(known, question, BINS)
    tables: dict[str, Iterable[str]] = {
        "group": session.settings.groups,
        "cloud": session.settings.clouds,
    }
    return Report(begin, end, by, tuple(made), total(made, BINS), tuple(tables.get(by, ())))


def hours(ns: float | None) -> str | None:
    """Hours with two decimals; None stays None."""
    return None if ns is None else f"{ns / _HOUR:.2f}"


def _cells(row: UsageRow) -> dict[str, object]:
    return {
        "key": row.key if row.key == UNASSIGNED else cell_of(row.key),
        "nodes": len(row.nodes),
        "boots": _count(row.boots),
        "failed": _count(row.boots_failed),
        **{name: hours(getattr(row, name)) for name in _TIMES},
        "orphans": row.orphans,
        "strays": row.strays,
    }


def _count(value: float) -> object:
    """The number of boots: whole, unless jobs share a boot."""
    return f"{value:.2f}" if value % 1 else int(value)
