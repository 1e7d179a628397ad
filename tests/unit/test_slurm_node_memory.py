"""What is remembered of failures, when nodes return, and which jobs are let go."""

from __future__ import annotations

from dataclasses import replace

from schemas.commands import Kind
from schemas.events import Cause, Transition
from tests.testbed.messages import MOMENT, command, event
from workers.slurm.after_update import after_event, failures_before, hastened
from workers.slurm.decide import Policy, SlurmUpdate, UpdateKind
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import JobState
from workers.slurm.requeued import Requeued, look
from workers.slurm.timers import after_due, due_actions

NS = 10**9
POLICY = Policy(return_after=10, return_at_most=60, give_back_after=30, resume_timeout=100)
FAILED = event(Transition.FAILED, cause=Cause("quota", "none"))
TOLD = SlurmUpdate(
    UpdateKind.TAKE_OUT, "node1", "", "lamplighter: quota: none", jobs=frozenset({4711})
)
NOW = MOMENT + 5 * NS
OUT = NodeMemory("node1", MOMENT, 1, Due.RETURN, NOW + 10 * NS, "quota", TOLD.reason, NOW, (4711,))


def test_failures_in_a_row_count_and_one_told_twice_counts_once() -> None:
    assert after_event(FAILED, TOLD, None, POLICY, NOW) == OUT
    assert after_event(FAILED, replace(TOLD, step=UpdateKind.STANDS), OUT, POLICY, NOW) is None
    next_time = event(Transition.FAILED, command(generation=MOMENT + 1), cause=FAILED.cause)
    again = after_event(next_time, TOLD, OUT, POLICY, NOW)
    assert again is not None
    assert (again.failures, again.due_at) == (2, NOW + 20 * NS)
    assert after_event(FAILED, TOLD, again, POLICY, NOW) is None


def test_having_waited_for_a_cloud_does_not_wipe_out_earlier_failures() -> None:
    asked = command(generation=MOMENT + 1)
    parked = event(Transition.PARKED, asked, cause=Cause("network", "away"))
    waits = after_event(parked, SlurmUpdate(UpdateKind.NOTHING, "node1", ""), OUT, POLICY, NOW)
    told = event(Transition.FAILED, asked, cause=FAILED.cause)
    assert failures_before(told, waits) == 1
    failed = after_event(told, TOLD, waits, POLICY, NOW)
    assert failed is not None
    assert failed.failures == 2
    assert failures_before(told, failed) == 1
    assert failures_before(told, None) == 0


def test_a_node_that_was_given_back_needs_no_return_but_its_failure_counts() -> None:
    memory = after_event(FAILED, replace(TOLD, step=UpdateKind.GIVE_BACK), None, POLICY, NOW)
    assert memory is not None
    assert (memory.failures, memory.due) == (1, Due.FORGET)


def test_lit_is_not_registered_so_failures_are_forgotten_later() -> None:
    lit = event(Transition.COMPLETED, command(generation=MOMENT + 1))
    nothing = SlurmUpdate(UpdateKind.NOTHING, "node1", "")
    assert after_event(lit, nothing, None, POLICY, NOW) is None
    memory = after_event(lit, nothing, OUT, POLICY, NOW)
    assert memory is not None
    assert (memory.failures, memory.due, memory.due_at) == (1, Due.FORGET, lit.time + 200 * NS)
    unregistered = event(
        Transition.COMPLETED, command(generation=MOMENT + 2, kind=Kind.RESUME_FAIL)
    )
    given_up = SlurmUpdate(UpdateKind.EXPLAIN, "node1", "", "lamplighter: resume_timeout: ...")
    memory = after_event(unregistered, given_up, memory, POLICY, NOW)
    assert memory is not None
    assert (memory.failures, memory.due) == (2, Due.RETURN)


def test_a_parked_node_is_due_after_the_configured_time_with_its_jobs() -> None:
    parked = event(Transition.PARKED, cause=Cause("invalid_grant", "revoked"))
    memory = after_event(parked, SlurmUpdate(UpdateKind.NOTHING, "node1", ""), None, POLICY, NOW)
    assert memory is not None
    assert (memory.due, memory.due_at) == (Due.GIVE_BACK, parked.time + 30 * NS)
    assert (memory.jobs, memory.failures) == ((4711,), 0)
    ((_, action),) = due_actions([memory], {}, {})
    assert (action.step, action.jobs) == (UpdateKind.NOTHING, frozenset({4711}))


def test_after_its_time_a_node_is_forgotten_or_looked_at_again() -> None:
    action = SlurmUpdate(UpdateKind.WAIT, "node1", "")
    later = after_due(OUT, action, POLICY, NOW)
    assert later is not None
    assert later.due_at > NOW
    back = after_due(OUT, replace(action, step=UpdateKind.RETURN), POLICY, NOW)
    assert back is not None
    assert (back.due, back.failures) == (Due.FORGET, 1)
    assert after_due(OUT, replace(action, step=UpdateKind.NOTHING), POLICY, NOW) is None
    never_failed = replace(OUT, failures=0, due=Due.GIVE_BACK)
    assert after_due(never_failed, replace(action, step=UpdateKind.RETURN), POLICY, NOW) is None
    given_back = after_due(never_failed, replace(action, step=UpdateKind.GIVE_BACK), POLICY, NOW)
    assert given_back is not None
    assert (given_back.due, given_back.failures) == (Due.FORGET, 0)


def test_when_one_of_a_group_boots_the_others_return_sooner_but_not_at_once() -> None:
    groups = {"node1": "a", "node2": "a", "node3": "b"}
    third = replace(OUT, failures=3, due_at=NOW + 40 * NS)
    assert hastened([third], ["node2"], groups, POLICY, NOW) == [
        replace(third, due_at=NOW + 10 * NS)
    ]
    assert not hastened([third], ["node3"], groups, POLICY, NOW)
    assert not hastened([OUT], ["node2"], groups, POLICY, NOW)
    own = replace(third, error="server_error")
    assert not hastened([own], ["node2"], groups, POLICY, NOW)


def test_requeued_jobs_are_let_go_and_others_left_alone() -> None:
    waiting: Requeued[str] = Requeued(frozenset(range(1, 8)), frozenset({"node1"}), 0.0)
    jobs = {
        1: JobState(1, "PENDING", ""),
        2: JobState(2, "CONFIGURING", "node1"),
        3: JobState(3, "COMPLETING", "node2"),
        4: JobState(4, "RUNNING", "node[2-3]"),
        5: JobState(5, "NODE_FAIL", "node1"),
        6: JobState(6, "CONFIGURING", "node[[["),
    }
    lift, still = look(waiting, jobs)
    assert lift == {1}
    assert still.jobs == {2, 3, 6}
