"""P9: drifts are repaired; a node is powered off only if it is certainly powered down for Slurm."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from schemas.commands import Desired
from schemas.server import Server
from schemas.snapshot import Power
from workers.clouds.actions import Strategy
from workers.config.tables import ResyncSettings
from workers.resync.decide import (
    TABLE,
    DriftPast,
    decide_drift,
    decide_stray,
    find_drift,
)
from workers.resync.drift import (
    ComparedNode,
    Drift,
    DriftAction,
    RepairStep,
    ServerState,
    server_state,
)

SETTINGS = ResyncSettings(grace=30.0, repeat_after=300.0)
FOR_LONG = DriftPast(seconds=1e6)
UP, DOWN = Desired.UP, Desired.DOWN
EVERYTHING = [
    ComparedNode(power, desired, seen, newer, busy, held, frees)
    for power, desired, seen, newer, busy, held, frees in product(
        (*Power, None), (*Desired, None), ServerState, *[(False, True)] * 4
    )
]


def test_table_covers_all_cases() -> None:
    for power, wanted in product((*Power, None), (False, True)):
        assert set(TABLE[power, wanted]) == set(ServerState)


def test_node_is_powered_off_only_if_it_is_powered_down_for_slurm_or_unknown_to_it() -> None:
    powered_off = [node for node in EVERYTHING if find_drift(node).step is RepairStep.SUSPEND]
    assert powered_off
    for node in powered_off:
        assert node.power in {Power.OFF, None}
        assert node.seen not in {ServerState.UNKNOWN, ServerState.SEVERAL, ServerState.BETWEEN}


def test_node_is_powered_on_only_if_slurm_relies_on_it() -> None:
    powered_on = [node for node in EVERYTHING if find_drift(node).step is RepairStep.RESUME]
    assert {node.power for node in powered_on} == {Power.ON, Power.POWERING_UP}
    assert all(
        node.desired is not Desired.GONE or node.seen is not ServerState.GONE for node in powered_on
    )


def test_no_repair_for_a_node_that_is_held_busy_or_newer_than_the_snapshot() -> None:
    for node in EVERYTHING:
        if node.held or node.busy or node.newer:
            assert find_drift(node).step not in {RepairStep.RESUME, RepairStep.SUSPEND}


def test_no_repair_if_a_state_is_unknown() -> None:
    for node in EVERYTHING:
        if ServerState.UNKNOWN is node.seen or node.power is Power.UNKNOWN:
            assert find_drift(node).step in {RepairStep.NOTHING, RepairStep.REPORT, RepairStep.HELD}


@pytest.mark.parametrize(
    ("node", "drift", "step"),
    [
        (ComparedNode(Power.OFF, DOWN, ServerState.RUNNING), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(Power.OFF, None, ServerState.RUNNING), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(Power.OFF, DOWN, ServerState.LEFT), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(Power.OFF, None, ServerState.LEFT), Drift.NONE, RepairStep.NOTHING),
        # Slurm no longer knows it: no job can run on it
        (ComparedNode(None, UP, ServerState.RUNNING), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(None, DOWN, ServerState.RUNNING), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(None, DOWN, ServerState.LEFT), Drift.ORPHAN, RepairStep.SUSPEND),
        (
            ComparedNode(None, DOWN, ServerState.RUNNING, held=True),
            Drift.ORPHAN,
            RepairStep.HELD,
        ),
        (ComparedNode(None, DOWN, ServerState.OUT), Drift.NOT_UNDERSTOOD, RepairStep.REPORT),
        (ComparedNode(None, DOWN, ServerState.SEVERAL), Drift.AMBIGUOUS, RepairStep.REPORT),
        # an operator may prepare it before it is added to slurm.conf
        (ComparedNode(None, None, ServerState.RUNNING), Drift.NOT_UNDERSTOOD, RepairStep.REPORT),
        (
            ComparedNode(None, Desired.ADOPTED, ServerState.RUNNING),
            Drift.NOT_UNDERSTOOD,
            RepairStep.REPORT,
        ),
        (ComparedNode(None, UP, ServerState.LEFT), Drift.NOT_UNDERSTOOD, RepairStep.REPORT),
        # a deletion that does not end; only strategy `delete` sends it again
        (
            ComparedNode(Power.OFF, DOWN, ServerState.DELETING, frees=True),
            Drift.STUCK,
            RepairStep.SUSPEND,
        ),
        (
            ComparedNode(Power.OFF, UP, ServerState.DELETING, frees=True),
            Drift.STUCK,
            RepairStep.SUSPEND,
        ),
        (
            ComparedNode(None, Desired.GONE, ServerState.DELETING, frees=True),
            Drift.STUCK,
            RepairStep.SUSPEND,
        ),
        (ComparedNode(Power.OFF, DOWN, ServerState.DELETING), Drift.STUCK, RepairStep.REPORT),
        (
            ComparedNode(Power.ON, UP, ServerState.DELETING, frees=True),
            Drift.STUCK,
            RepairStep.REPORT,
        ),
        (
            ComparedNode(Power.POWERING_DOWN, DOWN, ServerState.DELETING, frees=True),
            Drift.NONE,
            RepairStep.NOTHING,
        ),
        # deployed for later: its strategy would delete the server that an operator has just created
        (
            ComparedNode(Power.OFF, Desired.READY, ServerState.LEFT, frees=True),
            Drift.NONE,
            RepairStep.NOTHING,
        ),
        (
            ComparedNode(Power.OFF, Desired.READY, ServerState.RUNNING),
            Drift.ORPHAN,
            RepairStep.SUSPEND,
        ),
        (ComparedNode(Power.OFF, UP, ServerState.RUNNING), Drift.GHOST, RepairStep.SUSPEND),
        (ComparedNode(Power.OFF, UP, ServerState.OUT), Drift.GHOST, RepairStep.SUSPEND),
        (ComparedNode(Power.OFF, DOWN, ServerState.OUT), Drift.NONE, RepairStep.NOTHING),
        (ComparedNode(Power.OFF, DOWN, ServerState.BROKEN), Drift.BROKEN, RepairStep.REPORT),
        (
            ComparedNode(Power.OFF, DOWN, ServerState.BROKEN, frees=True),
            Drift.BROKEN,
            RepairStep.SUSPEND,
        ),
        (ComparedNode(Power.ON, UP, ServerState.RUNNING), Drift.NONE, RepairStep.NOTHING),
        (ComparedNode(Power.ON, UP, ServerState.OUT), Drift.DEAD, RepairStep.RESUME),
        (ComparedNode(Power.ON, UP, ServerState.GONE), Drift.DEAD, RepairStep.RESUME),
        (ComparedNode(Power.ON, UP, ServerState.BROKEN), Drift.DEAD, RepairStep.RESUME),
        (ComparedNode(Power.POWERING_UP, UP, ServerState.BROKEN), Drift.DEAD, RepairStep.RESUME),
        # its slurmd answers: a job may run on it, whatever Nova calls it
        *(
            (
                ComparedNode(Power.ON, desired, ServerState.BROKEN, answers=True, frees=frees),
                Drift.BROKEN,
                RepairStep.REPORT,
            )
            for desired in (None, *Desired)
            for frees in (False, True)
        ),
        (ComparedNode(Power.ON, UP, ServerState.OUT, answers=True), Drift.DEAD, RepairStep.RESUME),
        # a cell is down, or its group has moved to another cloud: a second server would end its jobs
        *(
            (
                ComparedNode(Power.ON, desired, ServerState.GONE, answers=True, frees=frees),
                Drift.DEAD,
                RepairStep.REPORT,
            )
            for desired in (None, UP, DOWN, Desired.ADOPTED)
            for frees in (False, True)
        ),
        (ComparedNode(Power.ON, DOWN, ServerState.RUNNING), Drift.UNASKED, RepairStep.RESUME),
        (ComparedNode(Power.ON, None, ServerState.RUNNING), Drift.UNASKED, RepairStep.RESUME),
        # an operator has powered it off, and Slurm does not know
        (ComparedNode(Power.ON, Desired.GONE, ServerState.GONE), Drift.UNASKED, RepairStep.REPORT),
        (ComparedNode(Power.ON, Desired.READY, ServerState.OUT), Drift.UNASKED, RepairStep.REPORT),
        (ComparedNode(Power.ON, Desired.BAKED, ServerState.OUT), Drift.UNASKED, RepairStep.REPORT),
        (
            ComparedNode(Power.ON, Desired.ADOPTED, ServerState.OUT),
            Drift.UNASKED,
            RepairStep.RESUME,
        ),
        (
            ComparedNode(Power.ON, Desired.READY, ServerState.RUNNING),
            Drift.UNASKED,
            RepairStep.RESUME,
        ),
        (ComparedNode(Power.SET_DOWN, UP, ServerState.OUT), Drift.SET_ASIDE, RepairStep.REPORT),
        (ComparedNode(Power.SET_DOWN, DOWN, ServerState.RUNNING), Drift.NONE, RepairStep.NOTHING),
        (ComparedNode(Power.ON, UP, ServerState.SEVERAL), Drift.AMBIGUOUS, RepairStep.REPORT),
        (
            ComparedNode(Power.UNKNOWN, UP, ServerState.RUNNING),
            Drift.NOT_UNDERSTOOD,
            RepairStep.REPORT,
        ),
        (ComparedNode(Power.OFF, DOWN, ServerState.UNKNOWN), Drift.UNSEEN, RepairStep.NOTHING),
        (
            ComparedNode(Power.OFF, DOWN, ServerState.RUNNING, held=True),
            Drift.ORPHAN,
            RepairStep.HELD,
        ),
        (
            ComparedNode(Power.POWERING_DOWN, UP, ServerState.RUNNING),
            Drift.NONE,
            RepairStep.NOTHING,
        ),
    ],
)
def test_drift_and_step_of_a_node(node: ComparedNode, drift: Drift, step: RepairStep) -> None:
    found = decide_drift(node, FOR_LONG, SETTINGS)
    assert (found.drift, found.step) == (drift, step)


def test_running_node_has_its_grace_and_dead_node_is_powered_on_at_once() -> None:
    orphan = ComparedNode(Power.OFF, DOWN, ServerState.RUNNING)
    assert decide_drift(orphan, DriftPast(seconds=29.9), SETTINGS).step is RepairStep.WAIT
    assert decide_drift(orphan, DriftPast(seconds=30.0), SETTINGS).step is RepairStep.SUSPEND
    dead = ComparedNode(Power.ON, UP, ServerState.OUT)
    assert decide_drift(dead, DriftPast(), SETTINGS).step is RepairStep.RESUME
    # Slurm waits for it, and the request of its hook may be on its way
    coming = replace(dead, power=Power.POWERING_UP)
    assert decide_drift(coming, DriftPast(), SETTINGS).step is RepairStep.WAIT


def test_deletion_is_stuck_only_after_the_stop_timeout_of_its_group() -> None:
    deleting = ComparedNode(Power.OFF, DOWN, ServerState.DELETING, frees=True, stop_timeout=120.0)
    assert decide_drift(deleting, DriftPast(seconds=120.0), SETTINGS).step is RepairStep.WAIT
    assert decide_drift(deleting, DriftPast(seconds=120.1), SETTINGS).step is RepairStep.SUSPEND
    relied_on = replace(deleting, power=Power.ON)
    assert decide_drift(relied_on, DriftPast(seconds=120.0), SETTINGS).step is RepairStep.WAIT
    assert decide_drift(relied_on, DriftPast(seconds=120.1), SETTINGS).step is RepairStep.REPORT


@pytest.mark.parametrize(
    ("repairs", "seconds"), [(1, 300.0), (2, 600.0), (3, 1200.0), (50, 3600.0)]
)
def test_repair_without_effect_is_repeated_at_growing_intervals(
    repairs: int, seconds: float
) -> None:
    dead = ComparedNode(Power.ON, UP, ServerState.OUT)
    before = DriftPast(seconds=1e6, repairs=repairs, repair_seconds=seconds - 0.1)
    assert decide_drift(dead, before, SETTINGS).step is RepairStep.WAIT
    assert (
        decide_drift(dead, replace(before, repair_seconds=seconds), SETTINGS).step
        is RepairStep.RESUME
    )


@pytest.mark.parametrize(
    ("status", "task", "strategy", "seen"),
    [
        ("ACTIVE", None, Strategy.STOP, ServerState.RUNNING),
        ("ACTIVE", "powering-off", Strategy.STOP, ServerState.BETWEEN),
        ("BUILD", None, Strategy.DELETE, ServerState.BETWEEN),
        ("SHUTOFF", None, Strategy.STOP, ServerState.OUT),
        ("SHUTOFF", None, Strategy.SHELVE, ServerState.LEFT),
        ("SHUTOFF", None, Strategy.DELETE, ServerState.LEFT),
        ("SHELVED_OFFLOADED", None, Strategy.SHELVE, ServerState.OUT),
        ("PAUSED", None, Strategy.STOP, ServerState.LEFT),
        ("ERROR", None, Strategy.STOP, ServerState.BROKEN),
        ("ERROR", "deleting", Strategy.STOP, ServerState.BROKEN),
        ("ACTIVE", "deleting", Strategy.DELETE, ServerState.DELETING),
        ("SHUTOFF", "deleting", Strategy.STOP, ServerState.DELETING),
        ("NEW_WORD", None, Strategy.STOP, ServerState.UNKNOWN),
    ],
)
def test_state_of_a_node_with_one_server(
    status: str, task: str | None, strategy: Strategy, seen: ServerState
) -> None:
    assert server_state((Server("id", "node1", status, task),), strategy) is seen


@pytest.mark.parametrize("drift", [Drift.STRAY, Drift.SURPLUS])
def test_stray_is_deleted_only_if_configured_and_after_its_grace(drift: Drift) -> None:
    deletes = ResyncSettings(grace=30.0, delete_strays=True)
    assert decide_stray(drift, FOR_LONG, SETTINGS).step is RepairStep.REPORT
    assert decide_stray(drift, DriftPast(seconds=29.0), deletes).step is RepairStep.REPORT
    assert decide_stray(drift, FOR_LONG, deletes).step is RepairStep.DELETE


def test_state_of_a_node_without_server_or_with_several() -> None:
    two = (Server("a", "node1", "ACTIVE"), Server("b", "node1", "SHUTOFF"))
    assert server_state((), Strategy.STOP) is ServerState.GONE
    assert server_state(two, Strategy.STOP) is ServerState.SEVERAL


def test_node_that_failed_to_return_is_reported_after_the_grace_if_nothing_else_is_wrong() -> None:
    left = ComparedNode(Power.OFF, DOWN, ServerState.OUT, left_down=True)
    assert decide_drift(left, FOR_LONG, SETTINGS) == DriftAction(Drift.LEFT_DOWN, RepairStep.REPORT)
    soon = decide_drift(left, DriftPast(seconds=29.9), SETTINGS)
    assert soon == DriftAction(Drift.LEFT_DOWN, RepairStep.WAIT)
    assert find_drift(replace(left, held=True)).step is RepairStep.HELD
    unseen = replace(left, seen=ServerState.UNKNOWN)
    assert find_drift(unseen).drift is Drift.LEFT_DOWN
    for node in EVERYTHING:
        found, other = find_drift(replace(node, left_down=True)), find_drift(node)
        if node.busy or node.newer or other.drift not in {Drift.NONE, Drift.UNSEEN}:
            assert found == other
        else:
            assert found.drift is Drift.LEFT_DOWN
