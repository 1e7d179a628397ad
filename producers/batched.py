"""Cuts a sequence into batches, so that no statement, command line or message becomes too long. Pure."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batched(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items, in order; none if there are no items.

    As itertools.batched from Python 3.12 on, but for sequences.
    """
    return (items[start : start + size] for start in range(0, len(items), size))
