"""A report's chart as rectangles and lines, in units of the SVG's viewBox. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ops.report.report import Report

WIDTH, HEIGHT, LEFT, BELOW = 960, 240, 46, 24
_FLOOR = HEIGHT - BELOW
_TALL = _FLOOR - 8
_SERIES = 6
_NS = 1_000_000_000
_DAY = 86_400
_MAX_TIMES = 8
_HALF_LABEL = 18
# Seconds between two marks on the time axis.
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
    """A grid line at `at`, with its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The average number of nodes powered on in each part of the time, as stacked bars."""

    names: tuple[str, ...]
    bars: tuple[Bar, ...]
    levels: tuple[Mark, ...]
    times: tuple[Mark, ...]


def chart(report: Report) -> Chart:
    """The report's chart; the rows after the first six are one series."""
    bins = len(report.total.bins)
    width = (report.end - report.begin) / bins
    used = [row for row in report.rows if row.powered_on]
    first, rest = used[:_SERIES], used[_SERIES:]
    names = tuple(row.key for row in first) + (("others",) if rest else ())
    series = [[time / width for time in row.bins] for row in first]
    if rest:
        series.append([sum(column) / width for column in zip(*(r.bins for r in rest), strict=True)])
    most = max((sum(column) for column in zip(*series, strict=True)), default=0.0)
    top = _ceiling(most)
    levels = (Mark(_FLOOR - part * _TALL, f"{top * part:g}") for part in (0.0, 0.5, 1.0))
    return Chart(names, tuple(_bars(series, bins, top)), tuple(levels), _times(report))


def _bars(series: Sequence[Sequence[float]], bins: int, top: float) -> Iterator[Bar]:
    step = (WIDTH - LEFT) / bins
    for number in range(bins):
        floor, x = float(_FLOOR), round(LEFT + number * step + 1, 1)
        for place, values in enumerate(series):
            height = values[number] / top * _TALL
            floor -= height
            if height > 0:
                yield Bar(place, x, round(floor, 2), round(step - 2, 1), round(height, 2))


def _ceiling(most: float) -> float:
    """The next larger round number."""
    if most <= 0:
        return 1.0
    power = 1.0
    while power * 10 < most:
        power *= 10
    while power >= most * 10:
        power /= 10
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most)


def _times(report: Report) -> tuple[Mark, ...]:
    """Marks at round times in UTC, at most _MAX_TIMES of them."""
    span = report.end - report.begin
    step = next((s for s in _TIMES if span <= s * _NS * _MAX_TIMES), None)
    if step is None:  # years: a multiple of the longest step
        step = -(-span // (_NS * _MAX_TIMES * _TIMES[-1])) * _TIMES[-1]
    form = "%H:%M" if step < _DAY else "%d %b"
    first = -(-report.begin // (step * _NS)) * step
    moments = range(first, -(-report.end // _NS), step)
    places = [LEFT + (at * _NS - report.begin) / span * (WIDTH - LEFT) for at in moments]
    return tuple(
        Mark(round(place, 1), datetime.fromtimestamp(at, UTC).strftime(form))
        for at, place in zip(moments, places, strict=True)
        if place <= WIDTH - _HALF_LABEL
    )
