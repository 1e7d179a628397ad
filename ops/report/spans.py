"""Sums of times that may overlap. Pure; a span is its begin and its exclusive end."""

from collections.abc import Iterable
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]


def clip(spans: Iterable[Span], window: Span) -> list[Span]:
    """Their parts within the window."""
    clipped = [(max(begin, window[0]), min(end, window[1])) for begin, end in spans]
    return [(begin, end) for begin, end in clipped if begin < end]


def union(spans: Iterable[Span]) -> list[Span]:
    """The same times without overlaps, in order."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        elif begin < end:
            joined.append((begin, end))
    return joined


def length(spans: Iterable[Span]) -> int:
    """How long they are together."""
    return sum(end - begin for begin, end in spans)


def overlap(some: Iterable[Span], others: Iterable[Span]) -> int:
    """How long both are; `others` must not overlap among themselves."""
    cut = list(others)
    return sum(length(clip(cut, span)) for span in some)


def minus(some: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What of `some` is in none of `others`; neither may overlap among themselves."""
    cut = sorted(others)
    left: list[Span] = []
    for begin, end in sorted(some):
        at = begin
        for other_begin, other_end in cut:
            if other_end <= at or other_begin >= end:
                continue
            if other_begin > at:
                left.append((at, other_begin))
            at = max(at, other_end)
        if at < end:
            left.append((at, end))
    return left
