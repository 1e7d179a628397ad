"""A report's chart as rectangles and lines. Pure.

Horizontal places are percentages of the chart's width, vertical ones are pixels: letters keep their size
on a phone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zlib import crc32

from ops.report.report import Report

HEIGHT, _BELOW, _ABOVE = 240, 24, 16
_FLOOR = HEIGHT - _BELOW
_TALL = _FLOOR - _ABOVE
_SERIES = 6
# Degrees: hues that follow each other in this step never come close to an earlier one.
_GOLDEN = 137.508
_NS = 1_000_000_000
_DAY = 86_400
_MAX_TIMES = 8
# Per cent: half of a label on a phone, 360 pixels wide.
_HALF_LABEL = 7.0
# Seconds between two marks on the time axis.
_TIMES = (
    *(60 * minutes for minutes in (1, 5, 15, 60, 180, 360, 720)),
    *(_DAY * days for days in (1, 2, 7, 14, 30)),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a series; `x` and `width` in per cent."""

    colour: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A grid line at `at`, with its label: pixels from above, or per cent from the left."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The average number of nodes powered on in each part of the time, as stacked bars.

    `names` are those of the series, each with its colour in CSS.
    """

    names: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...]
    levels: tuple[Mark, ...]
    times: tuple[Mark, ...]


def chart(report: Report) -> Chart:
    """The report's chart; the rows after the first six are one series."""
    bins = len(report.total.bins)
    width = (report.end - report.begin) / bins
    used = [row for row in report.rows if row.powered_on]
    first, rest = used[:_SERIES], used[_SERIES:]
    names = [(row.key, colour(row.key, report.order)) for row in first]
    names += [("others", "var(--c6)")] if rest else []
    series = [[time / width for time in row.bins] for row in first]
    if rest:
        series.append([sum(column) / width for column in zip(*(r.bins for r in rest), strict=True)])
    most = max((sum(column) for column in zip(*series, strict=True)), default=0.0)
    top = _ceiling(most)
    levels = (Mark(_FLOOR - part * _TALL, f"{top * part:g}") for part in (0.0, 0.5, 1.0))
    colours = [found for _, found in names]
    bars = _bars(series, colours, bins, top)
    return Chart(tuple(names), tuple(bars), tuple(levels), _times(report))


def colour(key: str, order: Sequence[str]) -> str:
    """The colour of a key, which depends neither on the other keys shown nor on their order.

    The first six of the configuration, whose `order` this is, have those of the style sheet. Each other
    one has a hue of its own; a key that the configuration lacks has it by its name.
    """
    place = order.index(key) if key in order else -1
    if 0 <= place < _SERIES:
        return f"var(--c{place})"
    hue = place * _GOLDEN if place >= 0 else crc32(key.encode())
    return f"hsl({round(hue) % 360} 45% 55%)"


def _bars(
    series: Sequence[Sequence[float]], colours: Sequence[str], bins: int, top: float
) -> Iterator[Bar]:
    step = 100 / bins
    for number in range(bins):
        floor, x = float(_FLOOR), round((number + 0.05) * step, 3)
        for values, shown in zip(series, colours, strict=True):
            height = values[number] / top * _TALL
            floor -= height
            if height > 0:
                yield Bar(shown, x, round(floor, 2), round(step * 0.9, 3), round(height, 2))


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
    places = [(at * _NS - report.begin) / span * 100 for at in moments]
    return tuple(
        Mark(round(place, 2), datetime.fromtimestamp(at, UTC).strftime(form))
        for at, place in zip(moments, places, strict=True)
        if _HALF_LABEL <= place <= 100 - _HALF_LABEL
    )
