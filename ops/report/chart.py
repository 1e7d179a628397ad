"""A report's chart as rectangles and lines, in the units of its viewBox. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ops.report.report import Report
from ops.report.sums import UsageRow

WIDTH, HEIGHT, LEFT, BELOW = 960, 240, 46, 24
_SERIES = 6
_STEPS = (1, 2, 5)
_NS = 1_000_000_000
_DAY = 86_400
_MOST_TIMES = 8
_HALF_A_WORD = 18
# Seconds between two marks of the axis.
_TIMES = (
    *(60 * minutes for minutes in (1, 5, 15, 60, 180, 360, 720)),
    *(_DAY * days for days in (1, 2, 7, 14, 30)),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a series."""

    series: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A line of the grid at `at`, and its words."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """How many nodes were lit on average, part by part, the series upon each other.

    Attributes:
        names: of the series, in the order of their numbers.
    """

    names: tuple[str, ...]
    bars: tuple[Bar, ...]
    levels: tuple[Mark, ...]
    times: tuple[Mark, ...]


def chart(report: Report) -> Chart:
    """The report's chart; what is beyond the first series is one more."""
    bins = len(report.total.bins)
    width = (report.end - report.begin) / bins
    lit = [row for row in report.rows if row.lit]
    first, rest = lit[:_SERIES], lit[_SERIES:]
    names = tuple(row.key for row in first) + (("the others",) if rest else ())
    series = [[lit / width for lit in row.bins] for row in first]
    if rest:
        series.append([sum(column) / width for column in zip(*(r.bins for r in rest), strict=True)])
    most = max((sum(column) for column in zip(*series, strict=True)), default=0.0)
    top = _ceiling(most)
    return Chart(names, tuple(_bars(series, bins, top)), _levels(top), _times(report))


def share(row: UsageRow, of: Sequence[UsageRow]) -> float:
    """A row's lit time against the longest, 0 to 1."""
    longest = max((other.lit for other in of), default=0.0)
    return row.lit / longest if longest else 0.0


def _bars(series: Sequence[Sequence[float]], bins: int, top: float) -> list[Bar]:
    step = (WIDTH - LEFT) / bins
    tall = HEIGHT - BELOW - 8
    made = []
    for number in range(bins):
        floor = float(HEIGHT - BELOW)
        for place, values in enumerate(series):
            height = values[number] / top * tall
            floor -= height
            if height > 0:
                x = LEFT + number * step + 1
                made.append(
                    Bar(place, round(x, 1), round(floor, 2), round(step - 2, 1), round(height, 2))
                )
    return made


def _ceiling(most: float) -> float:
    """The next round number."""
    if most <= 0:
        return 1.0
    power = 1.0
    while power * 10 < most:
        power *= 10
    while power >= most * 10:
        power /= 10
    return next(step * power for step in (*_STEPS, 10) if step * power >= most)


def _levels(top: float) -> tuple[Mark, ...]:
    tall, floor = HEIGHT - BELOW - 8, HEIGHT - BELOW
    return tuple(Mark(floor - part * tall, f"{top * part:g}") for part in (0.0, 0.5, 1.0))


def _times(report: Report) -> tuple[Mark, ...]:
    """Round moments, UTC, at most _MOST_TIMES of them."""
    span = report.end - report.begin
    step = next((s for s in _TIMES if span <= s * _NS * _MOST_TIMES), None)
    if step is None:  # years: so many whole months
        step = -(-span // (_NS * _MOST_TIMES * _TIMES[-1])) * _TIMES[-1]
    form = "%H:%M" if step < _DAY else "%d %b"
    first = -(-report.begin // (step * _NS)) * step
    moments = range(first, -(-report.end // _NS), step)
    places = [LEFT + (at * _NS - report.begin) / span * (WIDTH - LEFT) for at in moments]
    return tuple(
        Mark(round(place, 1), datetime.fromtimestamp(at, UTC).strftime(form))
        for at, place in zip(moments, places, strict=True)
        if place <= WIDTH - _HALF_A_WORD
    )
