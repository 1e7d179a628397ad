"""Visits every state that a model can reach."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.fencing.model import Model
    from tests.unit.fencing.state import State


@dataclass
class Found:
    """What a search has shown.

    Attributes:
        states, steps: how many there are.
        ends: how often each verdict was given on a state at rest; None is a good one.
        late: how many steps were late calls, by kind.
        stuck: how many states lead to no good state at rest any more.
        names: of the steps.
        story: the steps to the first state at rest that was judged bad.
    """

    states: int = 0
    steps: int = 0
    ends: Counter[str | None] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    stuck: int = 0
    names: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)


def search(
    model: Model, start: State, judge: Callable[[State], str | None], *, first: bool = False
) -> Found:
    """Search breadth first, so that the story of what goes wrong is a shortest one.

    Args:
        model: whose steps to follow.
        start: from where.
        judge: what is wrong with a state at rest, or None.
        first: whether to stop at the first bad one.
    """
    found = Found()
    numbers, order = {start: 0}, deque([start])
    before: list[list[int]] = [[]]
    names: list[str] = [""]
    good: list[int] = []
    while order:
        state = order.popleft()
        number = numbers[state]
        if state.at_rest():
            wrong = judge(state)
            found.ends[wrong] += 1
            if wrong is None:
                good.append(number)
            elif not found.story:
                found.story = [*_story(number, before, names), wrong]
                if first:
                    return found
        for name, after, late in model.steps(state):
            found.names.add(name)
            if after == state:
                continue
            found.steps += 1
            if late is not None:
                found.late[late] += 1
            known = numbers.setdefault(after, len(numbers))
            if known == len(before):
                before.append([])
                names.append(name)
                order.append(after)
            before[known].append(number)
    found.states = len(numbers)
    found.stuck = found.states - _leading_to(good, before)
    return found


def _story(number: int, before: list[list[int]], names: list[str]) -> list[str]:
    steps = []
    while number:
        steps.append(names[number])
        number = before[number][0]
    return steps[::-1]


def _leading_to(ends: list[int], before: list[list[int]]) -> int:
    seen, left = set(ends), list(ends)
    while left:
        for number in before[left.pop()]:
            if number not in seen:
                seen.add(number)
                left.append(number)
    return len(seen)
