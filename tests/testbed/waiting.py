"""Waiting for a condition, with a deadline and a name for what is awaited."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(
    condition: Callable[[], T | None],
    timeout: float,
    what: str,
    *,
    interval: float = 0.05,
) -> T:
    """Poll `condition` until it returns something truthy, and return that.

    Args:
        condition: Called at least once; what it raises is passed on.
        timeout: Seconds.
        what: The end of the sentence "waited for ...".
        interval: Seconds between two calls.

    Raises:
        TimeoutError: Naming `what` and the last value seen.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}; last seen: {value!r}")
        time.sleep(interval)


def until_none(find: Callable[[], object], timeout: float, what: str) -> None:
    """Poll `find` until it returns something falsy.

    Args:
        find: Called at least once; what it raises is passed on.
        timeout: Seconds.
        what: The end of the sentence "waited for the end of ...".

    Raises:
        TimeoutError: Naming `what` and what was still found.
    """
    found: list[object] = []

    def none() -> bool:
        found[:] = [find()]
        return not found[0]

    try:
        until(none, timeout, what)
    except TimeoutError:
        raise TimeoutError(f"waited {timeout:g} s for the end of {what}: {found[0]!r}") from None
