"""A progress bar on a terminal, for what takes long."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ops.cli.terminal import console

T = TypeVar("T")

# Fewer things than this are told one by one.
MANY = 50


def counted(
    results: Iterable[tuple[int, T]],
    what: str,
    *,
    hidden: bool,
    weight: Callable[[T], int] = lambda _: 1,
) -> Iterator[tuple[T, bool]]:
    """The results as they come, each with whether a bar tells of it.

    Args:
        results: each with how many there are in all.
        what: their name.
        hidden: whether there is no bar in any case.
        weight: for how many things a result stands.
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
