"""Whether a request's event can follow from what is recorded of the request. Pure.

A round ends once, and only a failed round has a next one: of a replay, or of a discard. Events arrive
in any order, so what is missing proves nothing; only what is there can contradict.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.events import Transition

SECOND_OUTCOME = "another outcome of this round is recorded already"


@dataclass(frozen=True, slots=True)
class RoundStep:
    """A step of a request, as the audit identifies it: `source` and `id` of its record."""

    source: str
    id: str
    round: int
    transition: Transition


def contradiction(step: RoundStep, recorded: Iterable[RoundStep]) -> str | None:
    """Why a step contradicts one of the recorded steps of its request; None if it does not.

    Steps with one source and id are not compared: they are repeats, or the log compares their bodies.
    """
    for other in recorded:
        if (other.source, other.id) == (step.source, step.id):
            continue
        before, after = sorted((step, other), key=lambda one: one.round)
        if before.round == after.round:
            if before.transition.terminal and after.transition.terminal:
                return SECOND_OUTCOME
        elif before.transition.terminal and before.transition is not Transition.FAILED:
            return (
                f"round {before.round} is {before.transition}, but only a failed round has a next one;"
                f" round {other.round} was recorded first"
            )
    return None
