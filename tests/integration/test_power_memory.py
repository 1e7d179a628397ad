"""Nothing that the engine keeps grows with the number of requests that it has ended."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING

from tests.testbed.longday import LongDay

if TYPE_CHECKING:
    from pathlib import Path

# Code, and what the whole process shares, is not the engine's.
_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, FrameType)
_OURS = ("workers.", "schemas.", "builtins", "collections", "_queue")


def kept(root: object) -> dict[str, int]:
    """How many objects of each type our own objects lead to, beginning with `root`."""
    seen, todo = {id(root)}, [root]
    found: dict[str, int] = {}
    while todo:
        thing = todo.pop()
        name = f"{type(thing).__module__}.{type(thing).__qualname__}"
        found[name] = found.get(name, 0) + 1
        for other in gc.get_referents(thing):
            if id(other) in seen or isinstance(other, _SHARED):
                continue
            if type(other).__module__.startswith(_OURS):
                seen.add(id(other))
                todo.append(other)
    return found


def test_twenty_thousand_requests_leave_nothing_behind(run_dir: Path) -> None:
    with LongDay(run_dir, nodes=1000, each_second=100, group="boot_timeout = 60") as day:
        day.run(10_000)
        before = kept(day.engine)
        day.run(20_000)
        after = kept(day.engine)
        assert day.engine.state == "0 nodes pending"
        outcomes = day.outcomes()
        assert outcomes.keys() <= {"completed", "superseded"}
        assert sum(outcomes.values()) == 20_000
    grown = {name: (before.get(name, 0), number) for name, number in after.items()}
    # one entry for each request that has ended, or for each stranger's server, would be more
    assert sum(after.values()) <= sum(before.values()) + 50, {
        name: pair for name, pair in grown.items() if pair[1] > pair[0]
    }
