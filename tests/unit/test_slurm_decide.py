"""The decided updates, for all events, all states of nodes in Slurm, and all stored states."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from schemas.commands import Desired, Kind
from schemas.events import Cause, RequestEvent, Transition
from schemas.snapshot import RESUME_TIMEOUT
from tests.testbed.messages import MOMENT, command, event
from workers.config.tables import SlurmSettings
from workers.power.admit import UNCONFIRMED
from workers.power.engine import HELD_LONG
from workers.power.reception import on_hold
from workers.slurm.after_update import returns_at
from workers.slurm.causes import CauseKind, kind_of, reason
from workers.slurm.decide import RequestedState, Situation, waits_for_cloud
from workers.slurm.decide import decide as decide_on
from workers.slurm.due import give_back, return_to_service
from workers.slurm.nodes import NodeState
from workers.slurm.updates import SlurmUpdate, UpdateKind

if TYPE_CHECKING:
    from collections.abc import Mapping

HOSTNAMES = {"node1": "node1.cluster"}
FINAL, RETRYABLE, TRANSIENT = (
    Cause(e, "text") for e in ("quota", "power_on_failed", "server_side")
)
CAUSES = {FINAL: CauseKind.FINAL, RETRYABLE: CauseKind.RETRYABLE, TRANSIENT: CauseKind.TRANSIENT}
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
    NodeState("node1", base, flags, text, "10.0.0.9", "node1")
    for base, flags, text in product(BASES, FLAGS, REASONS)
]
SAME = RequestedState(Desired.UP, MOMENT)
ROWS = (
    None,
    SAME,
    RequestedState(Desired.UP, MOMENT - 1),
    RequestedState(Desired.UP, MOMENT + 1),
    RequestedState(Desired.DOWN, MOMENT + 1),
)
BOOTING = NodeState("node1", "MIXED", frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"}))


def failed(cause: Cause = FINAL) -> RequestEvent:
    return event(Transition.FAILED, cause=cause)


def decide(  # noqa: PLR0913, PLR0917 - the cases vary all of them
    ended: RequestEvent,
    slurm: NodeState | None,
    requested: RequestedState | None,
    failures: int,
    hostnames: Mapping[str, str] | None,
    now: int = MOMENT + 2 * 10**9,
) -> SlurmUpdate:
    return decide_on(ended, Situation(slurm, requested, failures, now), hostnames)


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("kind", Kind)
def test_only_ends_of_resumes_and_resume_fails_are_reported(
    kind: Kind, transition: Transition
) -> None:
    ended = replace(event(transition, command(kind=kind), cause=FINAL), address="10.0.0.1")
    kinds = {decide(ended, s, row, 0, HOSTNAMES).kind for s in STATES for row in ROWS}
    reported = {
        (Kind.RESUME, Transition.FAILED),
        (Kind.RESUME, Transition.COMPLETED),
        (Kind.RESUME_FAIL, Transition.COMPLETED),
    }
    assert (kinds != {UpdateKind.NOTHING}) is ((kind, transition) in reported)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("failures", [0, 1, 5])
def test_failure_powers_down_only_nodes_that_slurm_waits_for(cause: Cause, failures: int) -> None:
    """For all states: only the newest request powers a node down, and only while POWERING_UP.

    Or after Slurm itself has set the node down and ended its jobs.
    """
    for state, row in product(STATES, ROWS):
        update = decide(failed(cause), state, row, failures, HOSTNAMES)
        assert update.kind in {*(s for s in UpdateKind if s.fails_boot), UpdateKind.NOTHING}
        if update.kind not in {UpdateKind.TAKE_OUT, UpdateKind.GIVE_BACK}:
            continue
        half_done = state.down and state.reason == update.reason
        assert state.booting or state.lost
        assert half_done or row is None or row.generation <= MOMENT
        assert half_done or not state.down or state.reason != "broken disk"
        out = CAUSES[cause] is CauseKind.FINAL or (
            CAUSES[cause] is CauseKind.RETRYABLE and failures > 0
        )
        assert (
            half_done
            or state.lost
            or update.kind is (UpdateKind.TAKE_OUT if out else UpdateKind.GIVE_BACK)
        )


def test_failure_after_its_expiry_is_not_about_the_boot_that_slurm_waits_for() -> None:
    """Slurm has called a newer resume, which no power worker has accepted yet."""
    expiry = failed().expiry
    assert expiry is not None
    assert decide(failed(), BOOTING, SAME, 0, HOSTNAMES, now=expiry).kind is UpdateKind.TAKE_OUT
    assert decide(failed(), BOOTING, SAME, 0, HOSTNAMES, now=expiry + 1).kind is UpdateKind.NOTHING


@pytest.mark.parametrize("text", ["", "Not responding", "broken disk"])
def test_lost_node_that_its_cloud_cannot_bring_back_is_powered_down(
    text: str,
) -> None:
    """With the reason of the cloud, so that it returns; the reason of an operator stays."""
    lost = NodeState("node1", "DOWN", frozenset({"CLOUD", "NOT_RESPONDING"}), text)
    ours = text != "broken disk"
    for cause, weight in CAUSES.items():
        out = ours and weight is not CauseKind.TRANSIENT
        expected = UpdateKind.TAKE_OUT if out else UpdateKind.NOTHING
        assert decide(failed(cause), lost, SAME, 0, HOSTNAMES).kind is expected
    older = RequestedState(Desired.UP, MOMENT - 1)
    for row in (None, older, RequestedState(Desired.UP, MOMENT + 1)):
        assert decide(failed(), lost, row, 0, HOSTNAMES).kind is UpdateKind.NOTHING
    silent = replace(lost, base="MIXED")  # perhaps a network problem: its job may still run
    assert decide(failed(), silent, SAME, 0, HOSTNAMES).kind is UpdateKind.NOTHING


@pytest.mark.parametrize("flag", ["DRAIN", "FAIL"])
def test_a_node_that_is_drained_while_it_boots_keeps_its_reason(flag: str) -> None:
    """Slurm has requeued its jobs; POWER_DOWN would end the drain, and ours would return the node to service."""
    drained = replace(BOOTING, base="IDLE", flags=BOOTING.flags | {flag}, reason="broken disk")
    for cause, failures in product(CAUSES, (0, 1)):
        update = decide(failed(cause), drained, SAME, failures, HOSTNAMES)
        assert update.kind is UpdateKind.NOTHING
    assert give_back("node1", MOMENT, "text", drained, SAME).kind is UpdateKind.NOTHING
    # State=POWER_DOWN_ASAP also drains the node, but its job waits on
    flags = drained.flags | {"POWER_DOWN"}
    asap = replace(drained, base="MIXED", flags=flags, reason="POWER_DOWN_ASAP")
    assert decide(failed(), asap, SAME, 0, HOSTNAMES).kind is UpdateKind.TAKE_OUT


def test_nothing_is_reported_for_a_node_on_hold() -> None:
    held = replace(SAME, held=True)
    for state, ended in product(STATES, (failed(), replace(event(Transition.COMPLETED)))):
        assert decide(ended, state, held, 0, HOSTNAMES).kind is UpdateKind.NOTHING
    assert give_back("node1", MOMENT, "text", BOOTING, held).kind is UpdateKind.WAIT
    down = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), "text")
    assert return_to_service("node1", "text", down, held).kind is UpdateKind.WAIT


def test_transient_cause_never_sets_a_node_down() -> None:
    for state, row, failures in product(STATES, ROWS, (0, 1, 100)):
        if state.reason == reason(TRANSIENT):
            continue
        assert (
            decide(failed(TRANSIENT), state, row, failures, HOSTNAMES).kind
            is not UpdateKind.TAKE_OUT
        )


def test_repeated_report_changes_nothing_but_still_starts_the_jobs() -> None:
    """After a crash between the update and the start of the jobs, our own reason is found."""
    newer = RequestedState(Desired.DOWN, MOMENT + 1)  # Slurm has called SuspendProgram, as expected
    for base, flag in product(("DOWN", "IDLE"), ("POWER_DOWN", "POWERING_DOWN", "POWERED_DOWN")):
        state = NodeState("node1", base, frozenset({flag}), reason(FINAL))
        update = decide(failed(), state, newer, 0, HOSTNAMES)
        assert (update.kind, update.jobs) == (UpdateKind.DONE, frozenset({4711}))
    half = NodeState("node1", "DOWN", frozenset({"POWERING_UP"}), reason(FINAL))
    assert decide(failed(), half, newer, 0, HOSTNAMES).kind is UpdateKind.TAKE_OUT


def test_reason_of_an_earlier_boot_does_not_hide_a_new_failure() -> None:
    state = replace(BOOTING, reason=reason(RETRYABLE))
    assert decide(failed(RETRYABLE), state, SAME, 0, HOSTNAMES).kind is UpdateKind.GIVE_BACK
    assert decide(failed(RETRYABLE), state, SAME, 1, HOSTNAMES).kind is UpdateKind.TAKE_OUT


def test_boot_that_slurm_abandoned_gets_a_reason() -> None:
    state = NodeState("node1", "DOWN", frozenset({"POWERED_DOWN"}), RESUME_TIMEOUT)
    for row in (None, SAME, RequestedState(Desired.DOWN, MOMENT + 1)):
        assert decide(failed(), state, row, 0, HOSTNAMES).kind is UpdateKind.EXPLAIN
    assert (
        decide(failed(), state, RequestedState(Desired.UP, MOMENT + 1), 0, HOSTNAMES).kind
        is UpdateKind.NOTHING
    )
    requested = command(kind=Kind.RESUME_FAIL)
    ended = event(Transition.COMPLETED, requested)
    update = decide(ended, state, RequestedState(Desired.DOWN, MOMENT), 0, HOSTNAMES)
    assert update.kind is UpdateKind.EXPLAIN
    assert update.reason.startswith("lamplighter: resume_timeout: ")
    own = replace(state, reason="broken disk")
    assert (
        decide(ended, own, RequestedState(Desired.DOWN, MOMENT), 0, HOSTNAMES).kind
        is UpdateKind.NOTHING
    )


def test_new_addresses_of_the_newest_boot_are_reported() -> None:
    ended = replace(event(Transition.COMPLETED), address="10.0.0.1")
    state = replace(BOOTING, address="10.0.0.9", hostname="node1")
    update = decide(ended, state, SAME, 0, HOSTNAMES)
    assert update.kind is UpdateKind.ADDRESS
    assert (update.address, update.hostname) == ("10.0.0.1", "node1.cluster")
    assert decide(ended, state, SAME, 0, {}).hostname == ""
    known = replace(state, address="10.0.0.1")
    assert decide(ended, known, SAME, 0, {}).kind is UpdateKind.NOTHING
    assert (
        decide(ended, state, RequestedState(Desired.UP, MOMENT + 1), 0, HOSTNAMES).kind
        is UpdateKind.NOTHING
    )
    assert decide(ended, state, SAME, 0, None).kind is UpdateKind.NOTHING
    assert (
        decide(replace(ended, address=None), state, SAME, 0, HOSTNAMES).kind is UpdateKind.NOTHING
    )
    assert decide(ended, None, SAME, 0, HOSTNAMES).kind is UpdateKind.NOTHING


def test_node_is_given_back_only_while_it_is_parked_and_slurm_waits() -> None:
    for state, row in product([None, *STATES], (*ROWS, replace(SAME, leased=True))):
        kind = give_back("node1", MOMENT, "text", state, row).kind
        current = state is not None and row is not None and row.generation == MOMENT
        if current and row is not None and row.leased:
            assert kind is UpdateKind.WAIT
        elif current and state is not None and state.booting and not state.down:
            assert kind is UpdateKind.GIVE_BACK
        else:
            assert kind is UpdateKind.NOTHING


def test_only_nodes_that_we_took_out_return_to_service() -> None:
    for state in [None, *STATES]:
        kind = return_to_service("node1", reason(FINAL), state).kind
        if state is None or not state.down:
            assert kind is UpdateKind.NOTHING
            continue
        off = "POWERED_DOWN" in state.flags
        on = not any("POWER" in flag for flag in state.flags)
        if state.reason == reason(FINAL):
            # slurmctld was killed between DOWN and POWER_DOWN, or before it saved POWER_DOWN
            not_off = UpdateKind.POWER_DOWN if on else UpdateKind.WAIT
            assert kind is (UpdateKind.RETURN if off else not_off)
        else:
            # slurmctld was killed before it saved our reason
            lost = off and state.reason == RESUME_TIMEOUT
            assert kind is (UpdateKind.RETURN if lost else UpdateKind.NOTHING)


@pytest.mark.parametrize("error", [HELD_LONG.error, on_hold("disk").error, UNCONFIRMED])
def test_what_the_power_worker_itself_waits_for_is_no_outage_of_a_cloud(error: str) -> None:
    """A node is given back for an outage: with a job that has begun, if it has registered meanwhile."""
    assert not waits_for_cloud(event(Transition.PARKED, cause=Cause(error, "")))
    assert kind_of(error) is CauseKind.TRANSIENT


def test_node_waits_for_an_unavailable_cloud_but_not_if_it_is_busy() -> None:
    assert waits_for_cloud(event(Transition.PARKED, cause=Cause("invalid_grant", "")))
    # its cloud may be away afterwards; while a worker holds the lease, nothing is given back
    assert waits_for_cloud(event(Transition.PARKED, cause=Cause("lease_held", "")))
    assert not waits_for_cloud(event(Transition.PARKED, cause=Cause("on_hold", "")))
    assert not waits_for_cloud(event(Transition.FAILED, cause=Cause("network", "")))
    suspend = command(kind=Kind.SUSPEND)
    assert not waits_for_cloud(event(Transition.PARKED, suspend, cause=Cause("network", "")))


def test_cool_down_doubles_up_to_its_limit() -> None:
    settings = SlurmSettings(return_after=10, return_at_most=60)
    waits = [returns_at(0, failures, settings) // 10**9 for failures in (1, 2, 3, 4, 5000)]
    assert waits == [10, 20, 40, 60, 60]


def test_unknown_cause_is_final() -> None:
    assert kind_of("unheard_of") is CauseKind.FINAL
