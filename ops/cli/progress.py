"""Shows the progress of a long operation, and limits its rate."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ops.cli.terminal import console

T = TypeVar("T")

# Fewer items than this are printed one by one, without a bar.
MANY = 50
_PORTIONS_PER_SECOND = 5


def with_progress(
    results: Iterable[tuple[int, T]],
    what: str,
    *,
    hidden: bool,
    weight: Callable[[T], int] = lambda _: 1,
) -> Iterator[tuple[T, bool]]:
    """The results as they arrive, each with whether a progress bar shows it.

    Each result has the total number of items, which are called `what`; `weight` is the number of
    items that it stands for. If `hidden`, no bar is shown in any case.
    """
    bar: Progress | None = None
    try:
        for total, result in results:
            if bar is None and not hidden and total >= MANY and sys.stdout.isatty():
                bar = Progress(
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn(what),
                    TimeRemainingColumn(),
                    console=console(),
                )
                bar.add_task(what, total=total)
                bar.start()
            if bar is not None:
                bar.advance(bar.task_ids[0], weight(result))
            yield result, bar is not None
    finally:
        if bar is not None:
            bar.stop()


def portions(
    items: Sequence[T],
    largest: int,
    rate: float | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Sequence[T]]:
    """All items in order, in portions of at most `largest`; at most `rate` items per second."""
    size = largest if rate is None else max(1, min(largest, int(rate / _PORTIONS_PER_SECOND)))
    begun = clock()
    for start in range(0, len(items), size):
        if rate is not None:
            sleep(max(0.0, begun + start / rate - clock()))
        yield items[start : start + size]
