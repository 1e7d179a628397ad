"""P2 and P3, in every interleaving of two workers with one suspend, one resume and one fault.

The naive rule, and ours with any single protection left out, go wrong in the same model: it can fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from schemas.commands import Desired
from tests.unit.fencing.model import Model, Rules
from tests.unit.fencing.search import Found, search
from tests.unit.fencing.state import initial

if TYPE_CHECKING:
    from tests.unit.fencing.reality import Wants
    from tests.unit.fencing.state import State

pytestmark = pytest.mark.slow

UP, DOWN = Desired.UP, Desired.DOWN


@dataclass(frozen=True)
class Judge:
    """Says what is wrong with a state at rest.

    Args:
        wants: what the first request wanted, and what the second, which decides.
    """

    wants: Wants

    def __call__(self, state: State) -> str | None:
        if state.server.status != ("ACTIVE" if self.wants[1] is UP else "SHUTOFF"):
            return f"the node is {state.server.status}"
        first, second = state.told
        if second != {"completed"}:
            return f"the newer request was told {sorted(second)}"
        if first not in ({"completed"}, {"superseded"}):
            return f"the older request was told {sorted(first)}"
        return None


def look(wants: Wants, status: str, rules: Rules, *, faults: int = 1, first: bool = False) -> Found:
    return search(Model(wants, rules), initial(status, faults), Judge(wants), first=first)


SUSPEND_THEN_RESUME = (DOWN, UP)
RESUME_THEN_SUSPEND = (UP, DOWN)


@pytest.mark.parametrize(
    ("wants", "status", "death_shows"),
    [
        pytest.param(SUSPEND_THEN_RESUME, "ACTIVE", True, id="a lit node, on SQLite"),
        pytest.param(SUSPEND_THEN_RESUME, "ACTIVE", False, id="a lit node, on PostgreSQL"),
        pytest.param(SUSPEND_THEN_RESUME, "SHUTOFF", True, id="a node that is dark already"),
        pytest.param(RESUME_THEN_SUSPEND, "SHUTOFF", True, id="a dark node"),
        pytest.param(RESUME_THEN_SUSPEND, "ACTIVE", True, id="a node that is lit already"),
    ],
)
def test_every_interleaving_ends_as_the_newest_request_wants(
    wants: Wants,
    status: str,
    death_shows: bool,  # noqa: FBT001
) -> None:
    """Each request has one outcome, the newer's is `completed`; nothing is ever stuck.

    A call that undoes the newer request was past its guard when that was accepted, and takes effect
    before the newer request ends: what it did is seen and repaired.
    """
    found = look(wants, status, Rules(death_shows=death_shows))
    assert found.story == []
    assert set(found.ends) == {None}
    assert found.stuck == 0
    assert set(found.late) <= {"racing", "unheard"}
    assert found.states > 10_000


def test_a_process_frozen_between_guard_and_call_undoes_what_has_ended_for_a_while() -> None:
    """The window that remains: such a call comes after its lease, and is repaired by its caller."""
    found = look(SUSPEND_THEN_RESUME, "ACTIVE", Rules(freeze=True))
    assert found.story == []
    assert found.stuck == 0
    assert set(found.late) == {"racing", "unheard", "frozen", "frozen, after its end"}


def test_only_a_second_fault_leaves_it_undone() -> None:
    """The frozen one loses its request too, and with it the reason to look again."""
    found = look(SUSPEND_THEN_RESUME, "ACTIVE", Rules(freeze=True), faults=2, first=True)
    assert found.story[-1] == "the node is SHUTOFF"
    assert [step for step in found.story if "frozen" in step or "loses" in step or "killed" in step]


WITHOUT = {
    "reconciling (drop what is stale)": Rules(reconcile=False),
    "the guard": Rules(guard=False),
    "the lease": Rules(lease=False),
    "wariness of what is unheard": Rules(wary=False),
}


@pytest.mark.parametrize("rules", WITHOUT.values(), ids=WITHOUT.keys())
def test_without_any_one_protection_some_interleaving_ends_wrong(rules: Rules) -> None:
    found = look(SUSPEND_THEN_RESUME, "ACTIVE", rules, first=True)
    assert found.story[-1] == "the node is SHUTOFF"
