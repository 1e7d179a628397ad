"""A permanent no is explained by its own fault alone; no other class of error may end a request."""

from __future__ import annotations

import pytest

from storm.dead_letters import EXPLAINED, Cause, objection
from storm.evidence import (
    DeadLetter,
    Injected,
)
from storm.plan import storm

PASSING = (
    *("network", "timeout", "server_side", "over_limit", "unauthorized", "invalid_grant", "token"),
    *("token_service_away", "provider_away", "unreadable_answer", "boots_stuck", "unconfirmed"),
    *("lease_held", "held_long", "on_hold", "unknown", "malformed", "not_allowed", ""),
    *("broker_delivery_limit", "ambiguous_server", "not_ours", "implausible_generation"),
)
TABLE = [(error, cause) for error, causes in EXPLAINED.items() for cause in causes]


@pytest.fixture(scope="module")
def planned() -> set[tuple[str, str]]:
    """Kind and target of each fault that a long storm plans."""
    return {
        (fault.kind, fault.target)
        for brokers, store in ((1, "sqlite"), (3, "postgresql"))
        for fault in storm(3, 20_000, brokers, store, 51).faults
    }


@pytest.mark.parametrize(("error", "cause"), TABLE)
def test_a_permanent_no_is_explained_by_its_fault_and_by_no_other(
    error: str, cause: Cause, planned: set[tuple[str, str]]
) -> None:
    assert (cause.kind, cause.target) in planned
    letter = DeadLetter("node1", error, "no", 5000.0)
    assert not objection(letter, [Injected(cause.kind, cause.target, 4990.0, 4995.0)])
    early, late = (Injected(cause.kind, cause.target, at, at + 5.0) for at in (100.0, 9000.0))
    assert bool(objection(letter, [early])) is not cause.lasting
    assert objection(letter, [late, Injected("answers", "500", 4990.0, 4995.0)])


def test_each_class_of_error_that_passes_is_a_violation() -> None:
    """An outage, a lease, a hold, a defect of ours: none may end a request, whatever was injected."""
    planned = storm(2, 20_000, 3, "postgresql", 51).faults
    faults = [Injected(fault.kind, fault.target, 0.0, 1000.0) for fault in planned]
    for error in PASSING:
        assert objection(DeadLetter("node1", error, "", 500.0), faults), error
