"""Cuts a sequence into batches, as itertools.batched does from Python 3.12 on."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items, in order; none if there are no items."""
    return (items[start : start + size] for start in range(0, len(items), size))
