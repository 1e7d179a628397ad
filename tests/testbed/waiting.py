"""Wait for a condition, with a deadline and a description for the error message."""

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
    """Poll `condition` until it returns a truthy value; return that value.

    Args:
        condition: Called at least once; its exceptions are passed on.
        timeout: Seconds.
        what: Completes the sentence "waited for ...".
        interval: Seconds between two calls.

    Raises:
        TimeoutError: Names `what` and the last value.
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
    """Poll `find` until it returns a falsy value.

    Args:
        find: Called at least once; its exceptions are passed on.
        timeout: Seconds.
        what: Completes the sentence "waited for the end of ...".

    Raises:
        TimeoutError: Names `what` and the last value.
    """
    found: list[object] = []

    def none() -> bool:
        found[:] = [find()]
        return not found[0]

    try:
        until(none, timeout, what)
    except TimeoutError:
        raise TimeoutError(f"waited {timeout:g} s for the end of {what}: {found[0]!r}") from None
