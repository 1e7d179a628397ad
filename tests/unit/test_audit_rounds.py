"""What contradicts the recorded outcome of a request, in whatever order events arrive."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from schemas.events import Transition
from tests.testbed.messages import event
from workers.audit.rounds import RoundStep, contradiction

if TYPE_CHECKING:
    from collections.abc import Iterable

T = Transition


def step(transition: Transition, round_: int = 1, source: str = "test") -> RoundStep:
    return RoundStep(source, event(transition, round_=round_).id, round_, transition)


def recorded(arriving: Iterable[RoundStep]) -> tuple[list[RoundStep], list[str]]:
    """The steps that the log keeps, and why it does not keep the others."""
    kept: list[RoundStep] = []
    reasons = []
    for one in arriving:
        if reason := contradiction(one, kept):
            reasons.append(reason)
        else:
            kept.append(one)
    return kept, reasons


LIVES = [
    [step(T.ACCEPTED), step(T.PARKED), step(T.RETRIED), step(T.COMPLETED)],
    [step(T.ACCEPTED), step(T.FAILED), step(T.DISCARDED, 2)],
    [step(T.FAILED), step(T.REPLAYED, 2), step(T.ACCEPTED, 2), step(T.SUPERSEDED, 2)],
    [
        *(step(T.ACCEPTED), step(T.FAILED), step(T.REPLAYED, 2), step(T.FAILED, 2)),
        *(step(T.REPLAYED, 3), step(T.COMPLETED, 3)),
    ],
]


@pytest.mark.parametrize("life", LIVES, ids=range(len(LIVES)))
def test_what_happened_is_recorded_whole_in_every_order_and_repeated(life: list[RoundStep]) -> None:
    """Deliveries may be late and repeated: no false alarm."""
    for order in permutations(life):
        assert recorded([*order, *order]) == ([*order, *order], [])


FORGED = [
    step(T.DISCARDED, 2),
    step(T.FAILED, 2),
    step(T.REPLAYED, 2),
    step(T.ACCEPTED, 7),
    step(T.FAILED, source="elsewhere"),
]


@pytest.mark.parametrize("end", [T.COMPLETED, T.SUPERSEDED, T.DISCARDED])
@pytest.mark.parametrize("forged", FORGED, ids=lambda one: f"{one.transition}{one.round}")
def test_a_forged_round_is_a_conflict_in_every_order(end: Transition, forged: RoundStep) -> None:
    """Whichever comes second; if the outcome was there, it stays the only one."""
    true = [step(T.ACCEPTED), step(T.RETRIED), step(end)]
    for order in permutations([*true, forged]):
        kept, reasons = recorded(order)
        assert len(reasons) == 1
        assert forged not in kept or step(end) not in kept
    assert recorded([*true, *FORGED])[0] == true
