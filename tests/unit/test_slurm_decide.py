"""What Slurm is told, for every event, every state that Slurm shows and every state of the store."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from schemas.commands import Desired, Kind
from schemas.events import Cause, RequestEvent, Transition
from tests.testbed.messages import MOMENT, command, event
from workers.slurm.causes import Weight, reason, weigh
from workers.slurm.decide import (
    Newest,
    Policy,
    Situation,
    SlurmUpdate,
    UpdateKind,
    bring_back,
    give_back,
    returns_at,
    waits_for_cloud,
)
from workers.slurm.decide import decide as decide_on
from workers.slurm.nodes import RESUME_TIMEOUT, NodeState

POLICY = Policy(set_addresses=True, hostnames={"node1": "node1.cluster"})
FINAL, RETRYABLE, TRANSIENT = (
    Cause(e, "words") for e in ("quota", "power_on_failed", "server_side")
)
CAUSES = {FINAL: Weight.FINAL, RETRYABLE: Weight.RETRYABLE, TRANSIENT: Weight.TRANSIENT}
REASONS = ("", "Not responding", RESUME_TIMEOUT, "broken disk", reason(FINAL), "lamplighter: old")
FLAGS = (
    frozenset[str](),
    frozenset({"POWERING_UP"}),
    frozenset({"POWERING_UP", "NOT_RESPONDING"}),
    frozenset({"POWER_DOWN"}),
    frozenset({"POWERING_DOWN"}),
    frozenset({"POWERED_DOWN"}),
    frozenset({"POWERED_DOWN", "NOT_RESPONDING"}),
    frozenset({"DRAIN"}),
    frozenset({"NOT_RESPONDING"}),
)
BASES = ("IDLE", "MIXED", "ALLOCATED", "DOWN", "UNKNOWN", "ERROR")
STATES = [
    NodeState("node1", base, flags, words, "10.0.0.9", "node1")
    for base, flags, words in product(BASES, FLAGS, REASONS)
]
SAME = Newest(Desired.UP, MOMENT)
ROWS = (
    None,
    SAME,
    Newest(Desired.UP, MOMENT - 1),
    Newest(Desired.UP, MOMENT + 1),
    Newest(Desired.DOWN, MOMENT + 1),
)
BOOTING = NodeState("node1", "MIXED", frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"}))


def failed(cause: Cause = FINAL) -> RequestEvent:
    return event(Transition.FAILED, cause=cause)


def decide(  # noqa: PLR0913, PLR0917 - as the cases are laid out
    told: RequestEvent,
    slurm: NodeState | None,
    newest: Newest | None,
    failures: int,
    policy: Policy,
    now: int = MOMENT + 2 * 10**9,
) -> SlurmUpdate:
    return decide_on(told, Situation(slurm, newest, failures, now), policy)


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("kind", Kind)
def test_only_ends_of_resumes_and_resume_fails_are_told(kind: Kind, transition: Transition) -> None:
    told = replace(event(transition, command(kind=kind), cause=FINAL), address="10.0.0.1")
    steps = {decide(told, s, row, 0, POLICY).step for s in STATES for row in ROWS}
    heard = {
        (Kind.RESUME, Transition.FAILED),
        (Kind.RESUME, Transition.COMPLETED),
        (Kind.RESUME_FAIL, Transition.COMPLETED),
    }
    assert (steps != {UpdateKind.NOTHING}) is ((kind, transition) in heard)


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("failures", [0, 1, 5])
def test_no_failure_ever_takes_down_what_slurm_does_not_wait_for(
    cause: Cause, failures: int
) -> None:
    """Over all states and rows: a node is powered down only while POWERING_UP, by the newest.

    Or when Slurm itself has given it up, and its jobs with it.
    """
    for state, row in product(STATES, ROWS):
        action = decide(failed(cause), state, row, failures, POLICY)
        assert action.step in {*(s for s in UpdateKind if s.fails), UpdateKind.NOTHING}
        if action.step not in {UpdateKind.TAKE_OUT, UpdateKind.GIVE_BACK}:
            continue
        half_told = state.down and state.reason == action.reason
        assert state.booting or state.lost
        assert half_told or row is None or row.generation <= MOMENT
        assert half_told or not state.down or state.reason != "broken disk"
        out = CAUSES[cause] is Weight.FINAL or (CAUSES[cause] is Weight.RETRYABLE and failures > 0)
        assert (
            half_told
            or state.lost
            or action.step is (UpdateKind.TAKE_OUT if out else UpdateKind.GIVE_BACK)
        )


def test_a_failure_whose_boot_slurm_has_given_up_cannot_be_about_the_boot_it_waits_for() -> None:
    """The newer resume has been called, and no power worker has accepted it yet."""
    expiry = failed().expiry
    assert expiry is not None
    assert decide(failed(), BOOTING, SAME, 0, POLICY, now=expiry).step is UpdateKind.TAKE_OUT
    assert decide(failed(), BOOTING, SAME, 0, POLICY, now=expiry + 1).step is UpdateKind.NOTHING


@pytest.mark.parametrize("words", ["", "Not responding", "broken disk"])
def test_a_node_that_slurm_has_lost_and_its_cloud_does_not_bring_back_is_powered_down(
    words: str,
) -> None:
    """With the cloud's words as its reason, so that it returns; a person's own word stands."""
    lost = NodeState("node1", "DOWN", frozenset({"CLOUD", "NOT_RESPONDING"}), words)
    ours = words != "broken disk"
    for cause, weight in CAUSES.items():
        out = ours and weight is not Weight.TRANSIENT
        expected = UpdateKind.TAKE_OUT if out else UpdateKind.NOTHING
        assert decide(failed(cause), lost, SAME, 0, POLICY).step is expected
    older = Newest(Desired.UP, MOMENT - 1)
    for row in (None, older, Newest(Desired.UP, MOMENT + 1)):
        assert decide(failed(), lost, row, 0, POLICY).step is UpdateKind.NOTHING
    silent = replace(lost, base="MIXED")  # perhaps the network: its job may still run
    assert decide(failed(), silent, SAME, 0, POLICY).step is UpdateKind.NOTHING


def test_slurm_is_told_nothing_of_a_node_on_hold() -> None:
    held = replace(SAME, held=True)
    for state, told in product(STATES, (failed(), replace(event(Transition.COMPLETED)))):
        assert decide(told, state, held, 0, POLICY).step is UpdateKind.NOTHING
    assert give_back("node1", MOMENT, "words", BOOTING, held).step is UpdateKind.WAIT
    down = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), "words")
    assert bring_back("node1", "words", down, held).step is UpdateKind.WAIT


def test_a_transient_cause_never_sets_a_node_down() -> None:
    for state, row, failures in product(STATES, ROWS, (0, 1, 100)):
        if state.reason == reason(TRANSIENT):
            continue
        assert (
            decide(failed(TRANSIENT), state, row, failures, POLICY).step is not UpdateKind.TAKE_OUT
        )


def test_what_was_told_already_stands_and_its_jobs_are_still_let_go() -> None:
    """Whoever died between telling Slurm and letting the jobs go finds its own words."""
    newer = Newest(Desired.DOWN, MOMENT + 1)  # SuspendProgram was called, as it should be
    for base, flag in product(("DOWN", "IDLE"), ("POWER_DOWN", "POWERING_DOWN", "POWERED_DOWN")):
        state = NodeState("node1", base, frozenset({flag}), reason(FINAL))
        action = decide(failed(), state, newer, 0, POLICY)
        assert (action.step, action.jobs) == (UpdateKind.STANDS, frozenset({4711}))
    half = NodeState("node1", "DOWN", frozenset({"POWERING_UP"}), reason(FINAL))
    assert decide(failed(), half, newer, 0, POLICY).step is UpdateKind.TAKE_OUT


def test_words_left_from_an_earlier_boot_do_not_hide_a_new_failure() -> None:
    state = replace(BOOTING, reason=reason(RETRYABLE))
    assert decide(failed(RETRYABLE), state, SAME, 0, POLICY).step is UpdateKind.GIVE_BACK
    assert decide(failed(RETRYABLE), state, SAME, 1, POLICY).step is UpdateKind.TAKE_OUT


def test_what_slurm_gave_up_by_itself_is_explained() -> None:
    state = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), RESUME_TIMEOUT)
    for row in (None, SAME, Newest(Desired.DOWN, MOMENT + 1)):
        assert decide(failed(), state, row, 0, POLICY).step is UpdateKind.EXPLAIN
    assert (
        decide(failed(), state, Newest(Desired.UP, MOMENT + 1), 0, POLICY).step
        is UpdateKind.NOTHING
    )
    asked = command(kind=Kind.RESUME_FAIL)
    told = event(Transition.COMPLETED, asked)
    action = decide(told, state, Newest(Desired.DOWN, MOMENT), 0, POLICY)
    assert action.step is UpdateKind.EXPLAIN
    assert action.reason.startswith("lamplighter: resume_timeout: ")
    own = replace(state, reason="broken disk")
    assert decide(told, own, Newest(Desired.DOWN, MOMENT), 0, POLICY).step is UpdateKind.NOTHING


def test_addresses_are_told_where_they_are_new_and_the_boot_is_the_newest() -> None:
    told = replace(event(Transition.COMPLETED), address="10.0.0.1")
    state = replace(BOOTING, address="10.0.0.9", hostname="node1")
    action = decide(told, state, SAME, 0, POLICY)
    assert action.step is UpdateKind.ADDRESS
    assert (action.address, action.hostname) == ("10.0.0.1", "node1.cluster")
    plain = replace(POLICY, hostnames={})
    assert decide(told, state, SAME, 0, plain).hostname == ""
    known = replace(state, address="10.0.0.1")
    assert decide(told, known, SAME, 0, plain).step is UpdateKind.NOTHING
    assert decide(told, state, Newest(Desired.UP, MOMENT + 1), 0, POLICY).step is UpdateKind.NOTHING
    silent = replace(POLICY, set_addresses=False)
    assert decide(told, state, SAME, 0, silent).step is UpdateKind.NOTHING
    assert decide(replace(told, address=None), state, SAME, 0, POLICY).step is UpdateKind.NOTHING
    assert decide(told, None, SAME, 0, POLICY).step is UpdateKind.NOTHING


def test_a_node_is_given_back_only_while_it_is_parked_and_slurm_waits() -> None:
    for state, row in product([None, *STATES], (*ROWS, replace(SAME, leased=True))):
        step = give_back("node1", MOMENT, "words", state, row).step
        newest = state is not None and row is not None and row.generation == MOMENT
        if newest and row is not None and row.leased:
            assert step is UpdateKind.WAIT
        elif newest and state is not None and state.booting and not state.down:
            assert step is UpdateKind.GIVE_BACK
        else:
            assert step is UpdateKind.NOTHING


def test_only_what_we_took_out_is_brought_back() -> None:
    for state in [None, *STATES]:
        step = bring_back("node1", reason(FINAL), state).step
        ours = state is not None and state.down and state.reason == reason(FINAL)
        off = state is not None and "POWERED_DOWN" in state.flags
        assert step is (
            (UpdateKind.RETURN if off else UpdateKind.WAIT) if ours else UpdateKind.NOTHING
        )


def test_outages_are_waited_for_and_busy_nodes_are_not() -> None:
    assert waits_for_cloud(event(Transition.PARKED, cause=Cause("invalid_grant", "")))
    assert not waits_for_cloud(event(Transition.PARKED, cause=Cause("lease_held", "")))
    assert not waits_for_cloud(event(Transition.FAILED, cause=Cause("network", "")))
    suspend = command(kind=Kind.SUSPEND)
    assert not waits_for_cloud(event(Transition.PARKED, suspend, cause=Cause("network", "")))


def test_the_cool_down_doubles_up_to_its_limit() -> None:
    policy = Policy(return_after=10, return_at_most=60)
    waits = [returns_at(0, failures, policy) // 10**9 for failures in (1, 2, 3, 4, 5000)]
    assert waits == [10, 20, 40, 60, 60]


def test_what_the_table_of_causes_does_not_know_needs_a_person() -> None:
    assert weigh("never heard of") is Weight.FINAL
