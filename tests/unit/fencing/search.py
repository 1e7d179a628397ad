"""Visits every state that a model can reach, or its twin."""

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
        states, steps: how many there are; a state's twin counts too, and is not visited.
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
    visited, order = _Visited(), deque([start])
    visited.number(start)
    before: list[list[int]] = [[]]
    names: list[str] = [""]
    good: list[int] = []
    while order:
        state = order.popleft()
        number = visited.number(state)
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
            its = visited.number(after)
            if its == len(before):
                before.append([])
                names.append(name)
                order.append(after)
            before[its].append(number)
    found.states = sum(visited.weights)
    leading = _leading_to(good, before)
    found.stuck = found.states - sum(visited.weights[number] for number in leading)
    return found


class _Visited:
    """Numbers the states from 0 in the order of their coming, one number for a state and its twin.

    Attributes:
        weights: by number, 2 for a state that is not its own twin, else 1.
    """

    def __init__(self) -> None:
        self._numbers: dict[State, int] = {}
        self.weights: list[int] = []

    def number(self, state: State) -> int:
        """The state's number, a new one if neither it nor its twin has come before."""
        known = self._numbers.get(state)
        if known is not None:
            return known
        twin = state.twin()
        known = self._numbers.get(twin)
        if known is None:
            known = self._numbers[state] = len(self._numbers)
            self.weights.append(1 + (twin != state))
        return known


def _story(number: int, before: list[list[int]], names: list[str]) -> list[str]:
    steps = []
    while number:
        steps.append(names[number])
        number = before[number][0]
    return steps[::-1]


def _leading_to(ends: list[int], before: list[list[int]]) -> set[int]:
    seen, left = set(ends), list(ends)
    while left:
        for number in before[left.pop()]:
            if number not in seen:
                seen.add(number)
                left.append(number)
    return seen
