"""A cloud's health: an outage is told from one sick server, and costs no request an attempt."""

from __future__ import annotations

import pytest

from schemas.events import Cause
from workers.clouds.health import Health

GONE = Cause("network", "reset by peer")


def failing(*nodes: str, at: float = 100.0) -> Health:
    """The calls of these nodes have failed."""
    health = Health()
    for node in nodes:
        health = health.call_failed(node, at)
    return health


def test_a_cloud_is_well_until_it_shows_otherwise() -> None:
    assert Health().well


def test_a_listing_that_fails_is_an_outage() -> None:
    health = Health().listing_failed(GONE, 100.0)
    assert health.away == GONE
    assert not health.well
    assert health.listing_succeeded() == Health()


def test_one_sick_server_is_no_outage() -> None:
    health = failing("node1", "node1", "node1", "node1")
    assert health.well
    assert health.listing_succeeded().well


def test_calls_of_three_nodes_failing_in_a_row_are_a_brown_out_though_it_lists() -> None:
    assert failing("node1", "node2").well
    health = failing("node1", "node2", "node3").listing_succeeded()
    assert health.actions_away
    assert health.away is None
    assert not health.well


def test_one_call_that_is_answered_ends_the_brown_out() -> None:
    assert failing("node1", "node2", "node3").call_answered() == Health()


def test_an_answered_call_breaks_the_row() -> None:
    assert failing("node1", "node2").call_answered().call_failed("node3", 101.0).well


def test_probes_back_off_to_a_quarter_of_a_minute_and_begin_anew() -> None:
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


def test_an_outage_in_a_brown_out_keeps_its_beginning() -> None:
    health = failing("node1", "node2", "node3", at=100.0).listing_failed(GONE, 130.0)
    assert health.since == 100.0
    assert health.listing_succeeded().since == 100.0
    assert health.call_answered().since == 100.0


def test_a_new_trouble_begins_anew() -> None:
    healed = Health().listing_failed(GONE, 100.0).listing_succeeded()
    assert healed.listing_failed(GONE, 900.0).rest(901.0) == "power.retry.5s"
