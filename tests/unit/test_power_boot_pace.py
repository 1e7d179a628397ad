"""A cloud is listed when a boot is about to be over, and never more often in all than usual."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed.pending_nodes import DOWN, UP, action, node
from workers.clouds.actions import START
from workers.clouds.health import BootPace

if TYPE_CHECKING:
    from workers.power.node import PendingNode

INTERVAL = 1.0


def booting(since: float, name: str = "node1") -> PendingNode:
    made = node(UP, name=name, patient_since=since)
    return replace(made, actions={made.key: (action(START),)})


def experienced(*took: float) -> BootPace:
    pace = BootPace()
    for one in took:
        pace.booted("all", one)
    return pace


def next_in(pace: BootPace, nodes: list[PendingNode], now: float) -> float:
    return pace.next_in([(one.group_name, one.boot_age(now)) for one in nodes], INTERVAL)


def listings(pace: BootPace, since: float, ready: float, now: float = 0.0) -> tuple[int, float]:
    """How many listings are made until one is requested after `ready`, and when that is."""
    count = 0
    while True:
        count += 1
        if now >= ready:
            return count, now
        now += next_in(pace, [booting(since)], now)


def test_a_boot_is_seen_soon_after_its_end_with_no_more_listings() -> None:
    for took in (2.9, 7.3, 40.0, 93.7):
        pace = experienced(took, took * 1.02, took * 0.99)
        count, seen = listings(pace, 0.0, took)
        assert seen - took <= 0.3
        assert count <= took / INTERVAL + 2


def test_where_the_boot_time_is_not_known_the_pace_is_the_usual_one() -> None:
    for pace in (BootPace(), experienced(30.0, 30.0)):
        assert next_in(pace, [booting(0.0)], 5.0) == INTERVAL


@pytest.mark.parametrize("other", [node(DOWN), node(UP, name="node2")])
def test_a_node_that_does_not_boot_keeps_the_usual_pace(other: PendingNode) -> None:
    pace = experienced(30.0, 30.0, 30.0)
    assert next_in(pace, [booting(0.0), other], 5.0) == INTERVAL
    assert next_in(pace, [], 5.0) == INTERVAL


def test_a_boot_that_takes_longer_than_ever_has_the_usual_pace() -> None:
    assert next_in(experienced(3.0, 3.0, 3.0), [booting(0.0)], 9.0) == INTERVAL


def test_a_boot_that_fails_early_is_noticed_within_four_intervals() -> None:
    assert next_in(experienced(300.0, 300.0, 300.0), [booting(0.0)], 1.0) == 4 * INTERVAL


@given(
    boots=st.lists(st.floats(0.1, 100), min_size=3, max_size=12),
    starts=st.lists(st.floats(0, 60), min_size=1, max_size=8),
)
def test_never_more_listings_than_one_an_interval(boots: list[float], starts: list[float]) -> None:
    pace, now, count = experienced(*boots), 0.0, 0
    while now < 120.0:
        pending = [booting(since, f"node{i}") for i, since in enumerate(starts) if since <= now]
        now += next_in(pace, pending, now)
        count += 1
        assert count <= now / INTERVAL + 1e-6
