"""A cloud's health: an outage is told apart from one sick server, and costs no request an attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Cause
from workers.clouds.health import Health

if TYPE_CHECKING:
    from collections.abc import Sequence

GONE = Cause("network", "reset by peer")
NODES = ("node1", "node2", "node3", "node4")


def failing(*nodes: str, at: float = 100.0) -> Health:
    """The calls of these nodes have failed, one after the other."""
    health = Health()
    for node in nodes:
        health = health.call_failed(node, at)
    return health


def test_a_new_cloud_counts_as_well() -> None:
    assert Health().well


def test_a_failed_listing_is_an_outage() -> None:
    health = Health().listing_failed(GONE, 100.0)
    assert health.away == GONE
    assert not health.well
    assert health.listing_succeeded() == Health()


def test_a_cloud_that_only_asks_for_patience_is_away_after_a_minute_of_it() -> None:
    """A gateway in maintenance says 503 with Retry-After: requests wait as in any other outage."""
    refused = Health().call_failed("node1", 10.0)  # an older trouble does not count
    for now in (100.0, 130.0, 159.0):
        refused = refused.listing_refused(GONE, 1.0, now)
        assert refused.away is None
    assert refused.listing_succeeded().listing_refused(GONE, 1.0, 161.0).away is None
    away = refused.listing_refused(GONE, 1.0, 160.0)
    assert away.away == GONE
    assert away.call_answered("node1", 161.0).listing_succeeded() == Health(acted_at=161.0)


def test_a_cloud_that_asks_for_a_minute_of_patience_is_away_at_once() -> None:
    assert Health().listing_refused(GONE, 59.0, 100.0).away is None
    assert Health().listing_refused(GONE, 60.0, 100.0).away == GONE


def test_repeated_failures_of_one_node_are_not_an_outage() -> None:
    health = failing("node1", "node1", "node1", "node1")
    assert health.well
    assert health.listing_succeeded().well


def test_failed_calls_of_three_nodes_in_a_row_are_a_brown_out_though_listings_succeed() -> None:
    assert failing("node1", "node2").well
    health = failing("node1", "node2", "node3").listing_succeeded()
    assert health.actions_away
    assert health.away is None
    assert not health.well


def test_a_node_whose_round_has_ended_is_no_longer_failing() -> None:
    health = failing("node1", "node2", "node3").listing_succeeded()
    ended = health.round_ended("node3")
    assert ended.well
    assert ended.since == 100.0
    assert not ended.is_own_fault("node3")
    assert ended.round_ended("node3") is ended
    assert failing("node1").round_ended("node1") == Health()
    away = failing("node1").listing_failed(GONE, 101.0).round_ended("node1")
    assert (away.away, away.since) == (GONE, 100.0)


def test_one_answered_call_ends_the_brown_out() -> None:
    health = failing("node1", "node2", "node3").call_answered("node1", 101.0)
    assert health.well
    assert set(health.failing) == {"node2", "node3"}
    assert failing("node1", "node2", "node3").call_answered("node4", 101.0).well


def test_an_answered_call_of_another_node_starts_the_row_again() -> None:
    health = failing("node1", "node2").call_answered("node4", 101.0)
    assert health.call_failed("node3", 102.0).well
    again = health.call_failed("node3", 102.0).call_failed("node5", 102.0)
    assert again.well
    assert not again.call_failed("node6", 102.0).well


def test_a_failure_is_the_nodes_own_only_if_another_call_was_answered_after_it() -> None:
    failed = failing("node1", at=100.0)
    assert not failed.is_own_fault("node1")
    assert not failed.call_answered("node2", 100.0).is_own_fault("node1")
    answered = failed.call_answered("node2", 101.0)
    assert answered.is_own_fault("node1")
    assert not answered.is_own_fault("node2")
    # the first failure counts: the cloud has acted for others between the two
    assert answered.call_failed("node1", 102.0).is_own_fault("node1")


def test_a_node_whose_call_was_answered_starts_with_a_clean_record() -> None:
    mended = failing("node1").call_answered("node1", 101.0)
    assert not mended.is_own_fault("node1")
    assert not mended.call_failed("node1", 102.0).is_own_fault("node1")


def test_an_answer_before_the_failure_does_not_make_it_the_nodes_own() -> None:
    assert (
        not Health().call_answered("node2", 99.0).call_failed("node1", 100.0).is_own_fault("node1")
    )


EVENTS = st.lists(
    st.tuples(st.sampled_from(["failed", "answered"]), st.sampled_from(NODES)), max_size=12
)


@given(EVENTS)
def test_nobody_is_at_fault_in_a_cloud_that_has_answered_nothing_since(
    events: Sequence[tuple[str, str]],
) -> None:
    """In any order of answers: own fault means a failure, and an answered call of another later."""
    health = Health()
    failed: dict[str, int] = {}
    answered = 0
    for moment, (what, node) in enumerate(events, 1):
        if what == "failed":
            health = health.call_failed(node, float(moment))
            failed.setdefault(node, moment)
        else:
            health = health.call_answered(node, float(moment))
            failed.pop(node, None)
            answered = moment
        for one in NODES:
            assert health.is_own_fault(one) is (one in failed and failed[one] < answered)
        assert health.actions_away is (sum(at > answered for at in failed.values()) >= 3)
        assert not (health.actions_away and all(health.is_own_fault(one) for one in failed))


def test_completed_and_stuck_boots_are_noted_and_change_nothing_else() -> None:
    health = failing("node1").boot_completed(105.0).boots_stuck(106.0)
    assert (health.booted_at, health.stuck_at) == (105.0, 106.0)
    assert health.well


def test_probes_back_off_to_15_s_and_start_again_after_a_success() -> None:
    health = Health()
    waits = []
    for _ in range(7):
        health = health.listing_failed(GONE, 100.0)
        waits.append(health.probe_in)
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    for _ in range(2000):
        health = health.listing_failed(GONE, 100.0)
    assert health.probe_in == 15.0
    assert health.listing_succeeded().listing_failed(GONE, 100.0).probe_in == 1.0


@pytest.mark.parametrize(
    ("lasted", "tier"),
    [
        (0.0, "power.retry.5s"),
        (59.9, "power.retry.5s"),
        (60.0, "power.retry.30s"),
        (599.9, "power.retry.30s"),
        (600.0, "power.retry.2m"),
        (100_000.0, "power.retry.2m"),
    ],
)
def test_requests_rest_longer_as_the_trouble_lasts(lasted: float, tier: str) -> None:
    began = 100.0
    away = Health().listing_failed(GONE, began).listing_failed(GONE, began + lasted)
    assert away.rest(began + lasted) == tier
    browned = failing("node1", "node2", "node3", at=began).listing_succeeded()
    assert browned.rest(began + lasted) == tier


def test_an_outage_during_a_brown_out_keeps_the_start_of_the_trouble() -> None:
    health = failing("node1", "node2", "node3", at=100.0).listing_failed(GONE, 130.0)
    assert health.since == 100.0
    assert health.listing_succeeded().since == 100.0
    assert health.call_answered("node1", 131.0).since == 100.0
    assert health.listing_succeeded().call_answered("node1", 131.0).since is None


def test_a_new_trouble_starts_with_the_shortest_rest() -> None:
    healed = Health().listing_failed(GONE, 100.0).listing_succeeded()
    assert healed.listing_failed(GONE, 900.0).rest(901.0) == "power.retry.5s"
