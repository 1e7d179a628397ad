"""Splits long lists, so that no statement or command line becomes too long. Pure."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from producers.batched import batched

T = TypeVar("T")


def chunks(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """The items in order, at most `size` at a time."""
    return batched(items, size)
