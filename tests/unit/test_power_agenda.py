"""The engine decides about a node only when something has happened to it, and never forgets one."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.power.state import Agenda
from workers.power.steps import WaitFor

LISTING = WaitFor(listing=True)
WHOLE = WaitFor(listing=True, whole=True)


def next_at(agenda: Agenda) -> float:
    """When to decide next."""
    return 0.0 if agenda.touched else agenda.next_at


@pytest.fixture
def agenda() -> Agenda:
    return Agenda()


def test_a_touched_node_is_due_at_once_and_only_once(agenda: Agenda) -> None:
    agenda.touch(["node2", "node1", "node2"])
    assert next_at(agenda) == 0.0
    assert agenda.take(1.0) == ["node1", "node2"]
    assert agenda.take(1.0) == []
    assert next_at(agenda) == inf


def test_a_node_that_waits_for_a_listing_is_due_after_the_next_one_of_its_cloud(
    agenda: Agenda,
) -> None:
    agenda.wait("node1", "one", LISTING)
    agenda.listed("two", whole=True)
    assert agenda.take(1.0) == []
    agenda.listed("one", whole=False)
    assert agenda.take(1.0) == ["node1"]
    agenda.listed("one", whole=False)
    assert agenda.take(1.0) == []


def test_a_node_that_waits_for_a_whole_listing_is_not_due_after_one_of_changes(
    agenda: Agenda,
) -> None:
    agenda.wait("node1", "one", WHOLE)
    assert agenda.for_whole["one"]
    agenda.listed("one", whole=False)
    assert agenda.take(1.0) == []
    agenda.listed("one", whole=True)
    assert agenda.take(1.0) == ["node1"]
    assert not agenda.for_whole["one"]


def test_a_whole_listing_also_serves_those_that_wait_for_any(agenda: Agenda) -> None:
    agenda.wait("node1", "one", LISTING)
    agenda.listed("one", whole=True)
    assert agenda.take(1.0) == ["node1"]


def test_a_node_that_waits_for_time_is_due_then_and_not_before(agenda: Agenda) -> None:
    agenda.wait("node1", "one", WaitFor(until=10.0))
    agenda.wait("node2", "one", WaitFor(until=5.0))
    assert next_at(agenda) == 5.0
    assert agenda.take(4.9) == []
    assert agenda.take(5.0) == ["node2"]
    assert next_at(agenda) == 10.0
    assert agenda.take(11.0) == ["node1"]
    assert next_at(agenda) == inf


def test_an_earlier_time_does_not_count_once_the_node_waits_for_a_later_one(
    agenda: Agenda,
) -> None:
    agenda.wait("node1", "one", WaitFor(until=5.0))
    agenda.touch(["node1"])
    assert agenda.take(1.0) == ["node1"]
    agenda.wait("node1", "one", WaitFor(until=9.0))
    assert agenda.take(6.0) == []
    assert agenda.take(9.0) == ["node1"]


def test_a_node_that_waits_for_nothing_is_due_when_it_is_touched(agenda: Agenda) -> None:
    agenda.wait("node1", "one", WaitFor())
    agenda.listed("one", whole=True)
    assert (agenda.take(inf), next_at(agenda)) == ([], inf)
    agenda.touch(["node1"])
    assert agenda.take(1.0) == ["node1"]


def test_a_turn_decides_about_few_nodes_those_first_that_a_job_may_wait_for(
    agenda: Agenda,
) -> None:
    """Thousands of suspends that end together do not hold up a resume; none of them is forgotten."""
    names = [f"node{number:04}" for number in range(1000)]
    agenda.touch(names)
    turns = [agenda.take(1.0, lambda name: name == "node0999")]
    assert turns[0][0] == "node0999"
    while next_at(agenda) == 0.0:
        turns.append(agenda.take(1.0))
    assert max(map(len, turns)) <= 250
    assert sorted(name for turn in turns for name in turn) == names


def test_a_node_of_a_backlog_is_due_once_the_whole_of_it_has_come(agenda: Agenda) -> None:
    """Whatever else has happened to it meanwhile."""
    agenda.behind.update(["node1", "node2"])
    agenda.touch(["node2", "node3"])
    assert agenda.take(1.0) == ["node3"]
    agenda.wait("node1", "one", WaitFor(until=2.0))
    assert agenda.take(3.0) == []
    agenda.caught_up()
    assert (next_at(agenda), agenda.take(3.0)) == (0.0, ["node1", "node2"])
    assert agenda.take(9.0) == []


STEPS = st.one_of(
    st.sampled_from([LISTING, WHOLE]),
    st.builds(WaitFor, until=st.integers(1, 30).map(float), listing=st.booleans()),
)
EVENTS = st.lists(
    st.one_of(
        st.just("changes"), st.just("whole"), st.just("touch"), st.integers(1, 5).map(float), STEPS
    ),
    max_size=20,
)


@given(EVENTS)
def test_what_a_node_waits_for_always_leads_to_a_decision(
    events: list[str | float | WaitFor],
) -> None:
    """Times pass, listings come, and the node waits again after each decision, in any order."""
    agenda, now = Agenda(), 0.0
    waits: WaitFor | None = None
    for event in events:
        due = False
        if isinstance(event, WaitFor):
            if waits is None:
                agenda.wait("node1", "one", event)
                waits = event
        elif isinstance(event, float):
            now += event
            due = waits is not None and waits.until is not None and waits.until <= now
        elif event == "touch":
            agenda.touch(["node1"])
            due = True
        else:
            agenda.listed("one", whole=event == "whole")
            due = waits is not None and waits.listing and (event == "whole" or not waits.whole)
        if due:
            assert next_at(agenda) <= now
        taken = agenda.take(now)
        assert "node1" in taken or not due
        if taken:
            waits = None
