"""What is remembered of failures, when nodes return to service, and which jobs may start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.commands import Kind
from schemas.events import Cause, Transition
from schemas.numbers import MOST
from schemas.snapshot import RESUME_TIMEOUT
from tests.testbed.messages import MOMENT, command, event
from workers.config.tables import SlurmSettings
from workers.slurm.after_update import after_due, after_event, failures_before, returning_sooner
from workers.slurm.due import due_updates, lost_reports, never_due, not_returned
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import JobState, NodeState
from workers.slurm.requeued import Requeued, follow
from workers.slurm.updates import SlurmUpdate, UpdateKind

NS = 10**9
SETTINGS = SlurmSettings(return_after=10, return_at_most=60, give_back_after=30, resume_timeout=100)
FAILED = event(Transition.FAILED, cause=Cause("quota", "none"))
TAKE_OUT = SlurmUpdate(
    UpdateKind.TAKE_OUT, "node1", "", "lamplighter: quota: none", jobs=frozenset({4711})
)
NOW = MOMENT + 5 * NS
OUT = NodeMemory(
    "node1", MOMENT, 1, Due.RETURN, NOW + 10 * NS, "quota", TAKE_OUT.reason, NOW, (4711,)
)


def test_failures_in_a_row_are_counted_and_a_repeated_report_is_not() -> None:
    assert after_event(FAILED, TAKE_OUT, None, SETTINGS, NOW) == OUT
    assert after_event(FAILED, replace(TAKE_OUT, kind=UpdateKind.DONE), OUT, SETTINGS, NOW) is None
    next_time = event(Transition.FAILED, command(generation=MOMENT + 1), cause=FAILED.cause)
    again = after_event(next_time, TAKE_OUT, OUT, SETTINGS, NOW)
    assert again is not None
    assert (again.failures, again.due_at) == (2, NOW + 20 * NS)
    assert after_event(FAILED, TAKE_OUT, again, SETTINGS, NOW) is None


def test_waiting_for_a_cloud_keeps_earlier_failures() -> None:
    requested = command(generation=MOMENT + 1)
    parked = event(Transition.PARKED, requested, cause=Cause("network", "away"))
    waits = after_event(parked, SlurmUpdate(UpdateKind.NOTHING, "node1", ""), OUT, SETTINGS, NOW)
    ended = event(Transition.FAILED, requested, cause=FAILED.cause)
    assert failures_before(ended, waits) == 1
    failed = after_event(ended, TAKE_OUT, waits, SETTINGS, NOW)
    assert failed is not None
    assert failed.failures == 2
    assert failures_before(ended, failed) == 1
    assert failures_before(ended, None) == 0


def test_a_node_that_waits_first_for_a_lease_then_for_its_cloud_is_given_back_in_time() -> None:
    update = SlurmUpdate(UpdateKind.NOTHING, "node1", "")
    first = event(Transition.PARKED, cause=Cause("lease_held", "another worker acts on it"))
    held = after_event(first, update, None, SETTINGS, first.time)
    assert held is not None
    assert (held.due, held.due_at) == (Due.GIVE_BACK, first.time + 30 * NS)
    later = replace(first, time=first.time + 25 * NS, cause=Cause("network", "away"))
    waits = after_event(later, update, held, SETTINGS, later.time)
    assert waits is not None
    assert (waits.due, waits.due_at) == (Due.GIVE_BACK, first.time + 30 * NS)
    assert waits.error == "network"


@pytest.mark.parametrize("ahead", [NS, 3600 * NS, MOST - NOW])
@pytest.mark.parametrize("transition", [Transition.PARKED, Transition.COMPLETED])
def test_an_event_from_the_future_delays_nothing_and_every_store_holds_its_end(
    transition: Transition, ahead: int
) -> None:
    """The clock of a power worker may be ahead; a time after the year 2262 would end the worker."""
    cause = Cause("network", "away") if transition is Transition.PARKED else None
    now_ = event(transition, command(generation=MOMENT + 1), cause=cause, time=NOW)
    nothing = SlurmUpdate(UpdateKind.NOTHING, "node1", "")
    future = replace(now_, time=NOW + ahead)
    memory = after_event(future, nothing, OUT, SETTINGS, NOW)
    assert memory == after_event(now_, nothing, OUT, SETTINGS, NOW)
    assert memory is not None
    assert memory.due_at <= MOST


def test_a_node_whose_power_workers_clock_is_behind_waits_as_long_for_its_cloud_as_others() -> None:
    """An event happens after its request, which slurmctld's host has stamped: no boot is given up at once."""
    parked = event(Transition.PARKED, cause=Cause("network", "away"), time=MOMENT - 3600 * NS)
    memory = after_event(parked, SlurmUpdate(UpdateKind.NOTHING, "node1", ""), None, SETTINGS, NOW)
    assert memory is not None
    assert (memory.due, memory.due_at) == (Due.GIVE_BACK, MOMENT + 30 * NS)


@pytest.mark.parametrize(("age", "again"), [(11, True), (9, False), (-3600, True)])
def test_an_outcome_is_told_again_some_seconds_after_it_whatever_its_senders_clock_says(
    age: int, *, again: bool
) -> None:
    ended = replace(FAILED, time=NOW - age * NS)
    found, waiting = lost_reports({"node1": (MOMENT, ended)}, {}, SETTINGS, NOW)
    assert (found, waiting) == ({"node1": ended} if again else {}, [])


def test_node_that_was_given_back_stays_in_service_and_its_failure_counts() -> None:
    memory = after_event(FAILED, replace(TAKE_OUT, kind=UpdateKind.GIVE_BACK), None, SETTINGS, NOW)
    assert memory is not None
    assert (memory.failures, memory.due) == (1, Due.FORGET)


def test_failures_are_forgotten_only_after_the_node_had_time_to_register() -> None:
    booted = event(Transition.COMPLETED, command(generation=MOMENT + 1))
    nothing = SlurmUpdate(UpdateKind.NOTHING, "node1", "")
    assert after_event(booted, nothing, None, SETTINGS, NOW) is None
    memory = after_event(booted, nothing, OUT, SETTINGS, NOW)
    assert memory is not None
    assert (memory.failures, memory.due, memory.due_at) == (1, Due.FORGET, booted.time + 200 * NS)
    unregistered = event(
        Transition.COMPLETED, command(generation=MOMENT + 2, kind=Kind.RESUME_FAIL)
    )
    given_up = SlurmUpdate(UpdateKind.EXPLAIN, "node1", "", "lamplighter: resume_timeout: ...")
    memory = after_event(unregistered, given_up, memory, SETTINGS, NOW)
    assert memory is not None
    assert (memory.failures, memory.due) == (2, Due.RETURN)


def test_parked_node_is_due_after_the_configured_time_with_its_jobs() -> None:
    parked = event(Transition.PARKED, cause=Cause("invalid_grant", "revoked"))
    memory = after_event(parked, SlurmUpdate(UpdateKind.NOTHING, "node1", ""), None, SETTINGS, NOW)
    assert memory is not None
    assert (memory.due, memory.due_at) == (Due.GIVE_BACK, parked.time + 30 * NS)
    assert (memory.jobs, memory.failures) == ((4711,), 0)
    ((_, update),) = due_updates([memory], {}, {})
    assert (update.kind, update.jobs) == (UpdateKind.NOTHING, frozenset({4711}))


def test_due_node_is_forgotten_or_checked_again() -> None:
    update = SlurmUpdate(UpdateKind.WAIT, "node1", "")
    later = after_due(OUT, update, SETTINGS, NOW)
    assert later is not None
    assert later.due_at > NOW
    back = after_due(OUT, replace(update, kind=UpdateKind.RETURN), SETTINGS, NOW)
    assert back is not None
    assert (back.due, back.failures) == (Due.FORGET, 1)
    assert after_due(OUT, replace(update, kind=UpdateKind.NOTHING), SETTINGS, NOW) is None
    never_failed = replace(OUT, failures=0, due=Due.GIVE_BACK)
    assert after_due(never_failed, replace(update, kind=UpdateKind.RETURN), SETTINGS, NOW) is None
    given_back = after_due(never_failed, replace(update, kind=UpdateKind.GIVE_BACK), SETTINGS, NOW)
    assert given_back is not None
    assert (given_back.due, given_back.failures) == (Due.FORGET, 0)


def test_boot_of_one_node_makes_its_group_return_sooner_but_not_at_once() -> None:
    groups = {"node1": "a", "node2": "a", "node3": "b"}
    third = replace(OUT, failures=3, due_at=NOW + 40 * NS)
    assert returning_sooner([third], ["node2"], groups, SETTINGS, NOW) == [
        replace(third, due_at=NOW + 10 * NS)
    ]
    assert not returning_sooner([third], ["node3"], groups, SETTINGS, NOW)
    assert not returning_sooner([OUT], ["node2"], groups, SETTINGS, NOW)
    own = replace(third, error="server_error")
    assert not returning_sooner([own], ["node2"], groups, SETTINGS, NOW)


def test_pending_jobs_start_and_other_jobs_are_not_touched() -> None:
    requeued = Requeued(frozenset(range(1, 8)), frozenset({"node1"}), 0.0)
    jobs = {
        1: JobState(1, "PENDING", ""),
        2: JobState(2, "CONFIGURING", "node1"),
        3: JobState(3, "COMPLETING", "node2"),
        4: JobState(4, "RUNNING", "node[2-3]"),
        5: JobState(5, "NODE_FAIL", "node1"),
        6: JobState(6, "CONFIGURING", "node[[["),
    }
    startable, remaining = follow(requeued, jobs)
    assert startable == {1}
    assert remaining.jobs == {2, 3, 6}


def test_return_that_slurmctld_has_lost_is_due_soon() -> None:
    down = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), TAKE_OUT.reason)
    returned = after_due(OUT, SlurmUpdate(UpdateKind.RETURN, "node1", ""), SETTINGS, NOW)
    assert returned is not None
    (again,) = not_returned({"node1": down}, {"node1": returned}, {"node1"}, SETTINGS, NOW)
    assert again == replace(OUT, due_at=NOW + 10 * NS)


def test_forgotten_node_with_our_reason_returns_after_one_cool_down() -> None:
    """Its failure counts once, although the event about it may be delivered again."""
    down = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), TAKE_OUT.reason)
    (found,) = not_returned({"node1": down}, {}, {"node1"}, SETTINGS, NOW)
    assert (found.due, found.due_at) == (Due.RETURN, NOW + 10 * NS)
    done = replace(TAKE_OUT, kind=UpdateKind.DONE)
    after = after_event(FAILED, done, found, SETTINGS, NOW)
    assert after is not None
    assert after.failures == 1


@pytest.mark.parametrize("before", [None, replace(OUT, due=Due.FORGET, reason="other")])
def test_a_forgotten_failure_counts_even_if_its_event_comes_after_the_return(
    before: NodeMemory | None,
) -> None:
    """The worker was killed after it had told Slurm, and the broker was away for longer than the cool-down."""
    down = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), TAKE_OUT.reason)
    known = {} if before is None else {"node1": before}
    (found,) = not_returned({"node1": down}, known, {"node1"}, SETTINGS, NOW)
    earlier = before.failures if before else 0
    assert (found.failures, found.due_at) == (earlier + 1, NOW + (10 << earlier) * NS)
    returned = after_due(found, SlurmUpdate(UpdateKind.RETURN, "node1", ""), SETTINGS, NOW)
    assert returned is not None
    lost = event(Transition.FAILED, command(generation=MOMENT + 1), cause=FAILED.cause)
    in_service = SlurmUpdate(UpdateKind.NOTHING, "node1", "Slurm does not wait for it")
    assert after_event(lost, in_service, returned, SETTINGS, NOW) is None
    assert failures_before(lost, returned) == earlier
    next_time = event(Transition.FAILED, command(generation=NOW + 1), cause=FAILED.cause)
    again = after_event(next_time, TAKE_OUT, returned, SETTINGS, NOW)
    assert again is not None
    assert again.failures == earlier + 2


@pytest.mark.parametrize("transition", [Transition.PARKED, Transition.COMPLETED])
def test_what_came_before_a_forgotten_failure_neither_delays_the_return_nor_counts_it_again(
    transition: Transition,
) -> None:
    """The broker delivers what a killed worker had not acknowledged in its order: the failure comes last."""
    down = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), TAKE_OUT.reason)
    (found,) = not_returned({"node1": down}, {}, {"node1"}, SETTINGS, NOW)
    cause = Cause("network", "away") if transition is Transition.PARKED else None
    earlier = event(transition, command(generation=MOMENT), cause=cause)
    nothing = SlurmUpdate(UpdateKind.NOTHING, "node1", "the node has a newer request")
    assert after_event(earlier, nothing, found, SETTINGS, NOW) is None
    lost = event(Transition.FAILED, command(generation=MOMENT + 1), cause=FAILED.cause)
    done = replace(TAKE_OUT, kind=UpdateKind.DONE)
    after = after_event(lost, done, found, SETTINGS, NOW)
    assert after is not None
    assert (after.failures, after.due, after.due_at) == (1, Due.RETURN, found.due_at)
    later = event(transition, command(generation=NOW + 1), cause=cause, time=NOW + 2)
    assert after_event(later, nothing, found, SETTINGS, NOW + 2) is not None


def test_only_nodes_with_our_reason_that_nothing_returns_are_taken_up() -> None:
    down = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), TAKE_OUT.reason)
    for state in (
        replace(down, base="IDLE"),
        replace(down, reason="broken disk"),
        replace(down, reason=RESUME_TIMEOUT),
        replace(down, flags=frozenset({"POWERING_UP"})),
    ):
        assert not_returned({"node1": state}, {}, {"node1"}, SETTINGS, NOW) == []
    assert not_returned({"node1": down}, {}, {"node2"}, SETTINGS, NOW) == []
    for due in (Due.RETURN, Due.GIVE_BACK):
        known = {"node1": replace(OUT, due=due)}
        assert not_returned({"node1": down}, known, {"node1"}, SETTINGS, NOW) == []


def test_lost_power_down_is_repeated_until_slurm_shows_it() -> None:
    update = SlurmUpdate(UpdateKind.POWER_DOWN, "node1", "")
    later = after_due(OUT, update, SETTINGS, NOW)
    assert later is not None
    assert (later.due, later.due_at) == (Due.RETURN, NOW + 30 * NS)


@pytest.mark.parametrize("due", list(Due))
def test_what_was_due_by_a_clock_that_was_far_ahead_is_due_now(due: Due) -> None:
    """A node would stay out of service for as long as the clock was ahead, and no drift would say so."""
    day = 86_400 * NS
    failed = replace(OUT, due=due, due_at=OUT.due_at + day, failed_at=NOW + day)
    assert never_due([OUT, failed], SETTINGS, NOW) == [replace(failed, due_at=NOW)]
