"""Going no faster than one is told."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_PORTIONS_A_SECOND = 5


def portions(
    items: Sequence[T],
    most: int,
    rate: float | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Sequence[T]]:
    """All items in order, in portions of at most `most`; with a rate, so many items a second."""
    size = most if rate is None else max(1, min(most, int(rate / _PORTIONS_A_SECOND)))
    begun = clock()
    for start in range(0, len(items), size):
        if rate is not None:
            sleep(max(0.0, begun + start / rate - clock()))
        yield items[start : start + size]
