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


def look(wants: Wants, status: str, rules: Rules, *, first: bool = False) -> Found:
    return search(Model(wants, rules), initial(status), Judge(wants), first=first)


SUSPEND_THEN_RESUME = (DOWN, UP)
RESUME_THEN_SUSPEND = (UP, DOWN)
STORES = {"the dead show": Rules(), "the dead do not show": Rules(death_shows=False)}


@pytest.mark.parametrize("rules", STORES.values(), ids=STORES.keys())
@pytest.mark.parametrize(
    ("wants", "status"),
    [
        (SUSPEND_THEN_RESUME, "ACTIVE"),
        (SUSPEND_THEN_RESUME, "SHUTOFF"),
        (RESUME_THEN_SUSPEND, "SHUTOFF"),
        (RESUME_THEN_SUSPEND, "ACTIVE"),
    ],
    ids=["a lit node", "a dark node", "a dark node, resumed first", "a lit node, resumed first"],
)
def test_every_interleaving_ends_as_the_newest_request_wants(
    wants: Wants, status: str, rules: Rules
) -> None:
    """Each request has one outcome, the newer's is `completed`; nothing is ever stuck.

    A call that undoes the newer request was past its guard when that was accepted, and takes effect
    before the newer request ends: what it did is seen and repaired.
    """
    found = look(wants, status, rules)
    assert found.story == []
    assert set(found.ends) == {None}
    assert found.stuck == 0
    assert set(found.late) <= {"racing", "killed"}
    assert found.states > 10_000


def test_only_a_process_frozen_between_guard_and_call_undoes_what_has_ended() -> None:
    """The window that remains: such a call may come after its lease, and after the newer's end."""
    found = look(SUSPEND_THEN_RESUME, "ACTIVE", Rules(freeze=True))
    assert set(found.ends) == {None, "the node is SHUTOFF"}
    assert found.late["frozen, after its end"] > 0
    assert "the lease ends" in found.story[found.story.index("worker 0 is about to os-stop") :]


WITHOUT = {
    "reconciling (drop what is stale)": Rules(reconcile=False),
    "the guard": Rules(guard=False),
    "the lease": Rules(lease=False),
    "wariness after a kill": Rules(wary=False),
}


@pytest.mark.parametrize("rules", WITHOUT.values(), ids=WITHOUT.keys())
def test_without_any_one_protection_some_interleaving_ends_wrong(rules: Rules) -> None:
    found = look(SUSPEND_THEN_RESUME, "ACTIVE", rules, first=True)
    assert found.story[-1] == "the node is SHUTOFF"
