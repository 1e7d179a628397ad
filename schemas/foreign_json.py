"""JSON from outside: a value that can be read again and written again, anywhere."""

import json
from math import inf
from typing import Any

# Each level costs the reader and the writer some of the stack that is left where they are called: what
# one place reads at its limit, another cannot.
MOST_DEEP = 100


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, a number that is none or has no end, or nested deeper than MOST_DEEP.
    """
    try:
        found = json.loads(text, parse_constant=_reject_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _opening(text) > MOST_DEEP and _is_deep(found):
        raise ValueError("it is nested too deeply")
    return found


def _opening(text: str | bytes) -> int:
    """At least the depth, without a walk: hooks' messages are read by the thousand."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _is_deep(value: object) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_DEEP):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _reject_constant(word: str) -> None:
    """JSON has no NaN and no infinities, but json.loads accepts them by default."""
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    """A number beyond a float's range would be read as an infinity, and written as one."""
    number = float(digits)
    if number in {inf, -inf}:
        raise ValueError("a number is too large")
    return number
