"""A chart as SVG: lines with labelled points on logarithmic axes."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from benchmarks.table import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.results import Chart

WIDTH, HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 30, 70, 50
_COLOURS = ("#b28704", "#37474f", "#1565c0", "#ad1457", "#2e7d32")
_OPENING = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    'font-family="sans-serif" font-size="12">'
)
_LABEL = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="{}">{}</text>'


def draw(chart: Chart) -> str:
    """The chart as SVG.

    Raises:
        ValueError: It has no points, or one that is not above 0.
    """
    points = [point for line in chart.lines.values() for point in line]
    if not points or min(map(min, points)) <= 0:
        raise ValueError(f"{chart.name}: a logarithmic axis needs points, all above 0")
    horizontal = [x for x, _ in points]
    low, high = _decades([y for _, y in points])
    to_x = _scale(min(horizontal), max(horizontal), _LEFT + 20, WIDTH - _RIGHT - 20)
    to_y = _scale(low, high, HEIGHT - _BOTTOM, _TOP)
    return "\n".join(
        [
            _OPENING,
            f"  <title>{escape(chart.title)}</title>",
            f'  <rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            *(f"  {line}" for line in _axes(chart, set(horizontal), (low, high), to_x, to_y)),
            *(f"  {line}" for line in _lines(chart, to_x, to_y)),
            "</svg>\n",
        ]
    )


def _axes(
    chart: Chart,
    columns: Iterable[float],
    ends: tuple[float, float],
    to_x: Callable[[float], float],
    to_y: Callable[[float], float],
) -> Iterator[str]:
    yield _LABEL.format(_LEFT, 20, "start", "#222", f"<tspan>{escape(chart.title)}</tspan>")
    for exponent in range(round(math.log10(ends[0])), round(math.log10(ends[1])) + 1):
        y = to_y(10.0**exponent)
        yield f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>'
        words = number(10.0**exponent, chart.unit)
        yield _LABEL.format(_LEFT - 8, y + 4, "end", "#555", escape(words))
    for column in sorted(columns):
        yield _LABEL.format(to_x(column), HEIGHT - _BOTTOM + 20, "middle", "#555", f"{column:,.6g}")
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield _LABEL.format(middle, HEIGHT - 10, "middle", "#555", escape(chart.across))


def _lines(
    chart: Chart, to_x: Callable[[float], float], to_y: Callable[[float], float]
) -> Iterator[str]:
    at = {
        x: sorted(y for line in chart.lines.values() for x2, y in line if x2 == x)
        for line in chart.lines.values()
        for x, _ in line
    }
    legend = float(_LEFT)
    for index, (name, points) in enumerate(chart.lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        yield f'<rect x="{legend:.0f}" y="36" width="12" height="12" fill="{colour}"/>'
        yield _LABEL.format(legend + 18, 46, "start", "#222", escape(name))
        legend += 40 + 6.5 * len(name)
        way = "L".join(f"{to_x(x):.1f} {to_y(y):.1f}" for x, y in sorted(points))
        yield f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in points:
            yield f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="3.5" fill="{colour}"/>'
            # the lowest of several points has its label below, so that labels do not meet
            below = len(at[x]) > 1 and y == at[x][0]
            words = escape(number(y, chart.unit))
            yield _LABEL.format(to_x(x), to_y(y) + (17 if below else -9), "middle", colour, words)


def _decades(values: list[float]) -> tuple[float, float]:
    """The powers of ten around all values."""
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map [low, high], logarithmic, to [start, end]; one value alone goes to the middle."""
    width = math.log(high / low)
    if not width:
        return lambda _: (start + end) / 2
    return lambda value: start + (end - start) * math.log(value / low) / width
