"""The figures of a benchmark as a table: ours, the baseline, their ratio, the aim, the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("figure", "ours", "baseline", "ratio", "aim", "verdict")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        ours: Lamplighter's figure, in `unit`.
        aim: the upper bound of the ratio, or of `ours` if there is no baseline; None: no aim.
        unit: printed after each number, such as ms.
        baseline: the figure to compare with, in `unit`, or None.
        difference: whether the aim bounds `ours - baseline` instead of the ratio.
    """

    name: str
    ours: float
    aim: float | None = None
    unit: str = ""
    baseline: float | None = None
    difference: bool = False

    @property
    def ratio(self) -> float | None:
        """`ours` over `baseline`."""
        return self.ours / self.baseline if self.baseline else None

    @property
    def reached(self) -> bool:
        """Whether the aim is reached; without an aim, it is."""
        if self.aim is None:
            return True
        if self.baseline is None:
            return self.ours <= self.aim
        if self.difference:
            return self.ours - self.baseline <= self.aim
        return self.ours <= self.aim * self.baseline

    def cells(self) -> tuple[str, ...]:
        """Return the figure's row."""
        return (
            self.name,
            number(self.ours, self.unit),
            "-" if self.baseline is None else number(self.baseline, self.unit),
            "-" if self.ratio is None else f"{self.ratio:.2f}x",
            self._aim(),
            "-" if self.aim is None else "reached" if self.reached else "MISSED",
        )

    def _aim(self) -> str:
        if self.aim is None:
            return "-"
        if self.baseline is None:
            return f"<= {number(self.aim, self.unit)}"
        return f"<= +{number(self.aim, self.unit)}" if self.difference else f"<= {self.aim:g}x"


def render(figures: Sequence[Figure]) -> str:
    """Return the figures as an aligned table in plain text."""
    rows = [COLUMNS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            # the first and the last column hold words, the others numbers
            cell.ljust(width) if column in {0, len(COLUMNS) - 1} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def counted(nodes: int) -> str:
    """A number of nodes, such as 1 node."""
    return "1 node" if nodes == 1 else f"{nodes:,} nodes"


def counted_runs(runs: int) -> str:
    """What figures come from: one run of each, or the medians of several."""
    return "one run of each" if runs == 1 else f"medians of {runs} runs that alternate"


def number(value: float, unit: str = "") -> str:
    """A value with three digits, or all before the point, and its unit."""
    digits = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits are enough
    return f"{digits} {unit}".rstrip()
