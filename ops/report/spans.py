"""Arithmetic on spans of time that may overlap. Pure; a span is its begin and its exclusive end."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeAlias, TypeVar

Span: TypeAlias = tuple[int, int]
T = TypeVar("T")


def clip(spans: Iterable[Span], window: Span) -> list[Span]:
    """The parts of the spans within the window."""
    clipped = [(max(begin, window[0]), min(end, window[1])) for begin, end in spans]
    return [(begin, end) for begin, end in clipped if begin < end]


def union(spans: Iterable[Span]) -> list[Span]:
    """The union of the spans: without overlaps, in order."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        elif begin < end:
            joined.append((begin, end))
    return joined


def length(spans: Iterable[Span]) -> int:
    """The sum of the lengths."""
    return sum(end - begin for begin, end in spans)


def overlap(some: Iterable[Span], others: Iterable[Span]) -> int:
    """The length of the intersection; `others` must not overlap each other."""
    cut = Sorted(others, lambda span: span)
    return sum(length(clip(cut.meeting(span), span)) for span in some)


def minus(some: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """The parts of `some` outside `others`; `others` must not overlap each other."""
    cut = Sorted(others, lambda span: span)
    left: list[Span] = []
    for begin, end in sorted(some):
        at = begin
        for other_begin, other_end in clip(cut.meeting((begin, end)), (begin, end)):
            if other_begin > at:
                left.append((at, other_begin))
            at = other_end
        if at < end:
            left.append((at, end))
    return left


class Sorted(Generic[T]):
    """Items with a span each, sorted so that those that meet another span are found quickly.

    The items are in any order, and their spans may overlap.
    """

    def __init__(self, items: Iterable[T], span_of: Callable[[T], Span]) -> None:
        self._items = sorted(items, key=span_of)
        spans = [span_of(item) for item in self._items]
        self._begins = [begin for begin, _ in spans]
        # the latest end of all items up to each one
        self._ends = list(accumulate((end for _, end in spans), max))

    def meeting(self, span: Span) -> Sequence[T]:
        """All items that meet this span, by begin; the result may contain some that do not."""
        return self._items[bisect_right(self._ends, span[0]) : bisect_left(self._begins, span[1])]
