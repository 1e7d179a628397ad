"""P9: what is running becomes what Slurm wants; and nothing is put out unless Slurm surely says so."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from schemas.commands import Desired
from schemas.server import Server
from schemas.snapshot import Power
from workers.clouds.actions import Strategy
from workers.resync.drift import (
    TABLE,
    ComparedNode,
    Drift,
    DriftPast,
    Patience,
    RepairStep,
    ServerState,
    decide_drift,
    decide_stray,
    find_drift,
    seen_as,
)

PATIENCE = Patience(grace=30.0, repeat_after=300.0)
FOR_LONG = DriftPast(seconds=1e6)
UP, DOWN = Desired.UP, Desired.DOWN
EVERYTHING = [
    ComparedNode(power, desired, seen, newer, busy, held, frees)
    for power, desired, seen, newer, busy, held, frees in product(
        Power, (*Desired, None), ServerState, *[(False, True)] * 4
    )
]


def test_the_table_knows_every_case() -> None:
    for power, wanted in product(Power, (False, True)):
        assert set(TABLE[power, wanted]) == set(ServerState)


def test_a_node_is_put_out_only_where_slurm_holds_it_to_be_powered_down() -> None:
    put_out = [node for node in EVERYTHING if find_drift(node).step is RepairStep.SUSPEND]
    assert put_out
    for node in put_out:
        assert node.power is Power.OUT
        assert node.seen not in {ServerState.UNKNOWN, ServerState.SEVERAL, ServerState.BETWEEN}


def test_a_node_is_lit_only_where_slurm_counts_on_it() -> None:
    lit = [node for node in EVERYTHING if find_drift(node).step is RepairStep.RESUME]
    assert {node.power for node in lit} == {Power.LIT, Power.COMING}
    assert all(
        node.desired is not Desired.GONE or node.seen is not ServerState.GONE for node in lit
    )


def test_nothing_is_asked_of_a_node_that_is_held_busy_or_newer_than_the_snapshot() -> None:
    for node in EVERYTHING:
        if node.held or node.busy or node.newer:
            assert find_drift(node).step not in {RepairStep.RESUME, RepairStep.SUSPEND}


def test_what_is_not_seen_or_not_understood_is_left_alone() -> None:
    for node in EVERYTHING:
        if ServerState.UNKNOWN is node.seen or node.power is Power.UNKNOWN:
            assert find_drift(node).step in {RepairStep.NOTHING, RepairStep.REPORT, RepairStep.HELD}


@pytest.mark.parametrize(
    ("node", "drift", "step"),
    [
        (ComparedNode(Power.OUT, DOWN, ServerState.RUNNING), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(Power.OUT, None, ServerState.RUNNING), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(Power.OUT, DOWN, ServerState.LEFT), Drift.ORPHAN, RepairStep.SUSPEND),
        (ComparedNode(Power.OUT, None, ServerState.LEFT), Drift.NONE, RepairStep.NOTHING),
        # deployed for later: its strategy would delete what an operator has just made
        (
            ComparedNode(Power.OUT, Desired.READY, ServerState.LEFT, frees=True),
            Drift.NONE,
            RepairStep.NOTHING,
        ),
        (
            ComparedNode(Power.OUT, Desired.READY, ServerState.RUNNING),
            Drift.ORPHAN,
            RepairStep.SUSPEND,
        ),
        (ComparedNode(Power.OUT, UP, ServerState.RUNNING), Drift.GHOST, RepairStep.SUSPEND),
        (ComparedNode(Power.OUT, UP, ServerState.OUT), Drift.GHOST, RepairStep.SUSPEND),
        (ComparedNode(Power.OUT, DOWN, ServerState.OUT), Drift.NONE, RepairStep.NOTHING),
        (ComparedNode(Power.OUT, DOWN, ServerState.BROKEN), Drift.BROKEN, RepairStep.REPORT),
        (
            ComparedNode(Power.OUT, DOWN, ServerState.BROKEN, frees=True),
            Drift.BROKEN,
            RepairStep.SUSPEND,
        ),
        (ComparedNode(Power.LIT, UP, ServerState.RUNNING), Drift.NONE, RepairStep.NOTHING),
        (ComparedNode(Power.LIT, UP, ServerState.OUT), Drift.DEAD, RepairStep.RESUME),
        (ComparedNode(Power.LIT, UP, ServerState.GONE), Drift.DEAD, RepairStep.RESUME),
        (ComparedNode(Power.LIT, UP, ServerState.BROKEN), Drift.DEAD, RepairStep.RESUME),
        (ComparedNode(Power.COMING, UP, ServerState.BROKEN), Drift.DEAD, RepairStep.RESUME),
        (ComparedNode(Power.LIT, DOWN, ServerState.RUNNING), Drift.UNASKED, RepairStep.RESUME),
        (ComparedNode(Power.LIT, None, ServerState.RUNNING), Drift.UNASKED, RepairStep.RESUME),
        # an operator has put it out, and Slurm was not told
        (ComparedNode(Power.LIT, Desired.GONE, ServerState.GONE), Drift.UNASKED, RepairStep.REPORT),
        (ComparedNode(Power.LIT, Desired.READY, ServerState.OUT), Drift.UNASKED, RepairStep.REPORT),
        (ComparedNode(Power.LIT, Desired.BAKED, ServerState.OUT), Drift.UNASKED, RepairStep.REPORT),
        (
            ComparedNode(Power.LIT, Desired.ADOPTED, ServerState.OUT),
            Drift.UNASKED,
            RepairStep.RESUME,
        ),
        (
            ComparedNode(Power.LIT, Desired.READY, ServerState.RUNNING),
            Drift.UNASKED,
            RepairStep.RESUME,
        ),
        (ComparedNode(Power.ASIDE, UP, ServerState.OUT), Drift.SET_ASIDE, RepairStep.REPORT),
        (ComparedNode(Power.ASIDE, DOWN, ServerState.RUNNING), Drift.NONE, RepairStep.NOTHING),
        (ComparedNode(Power.LIT, UP, ServerState.SEVERAL), Drift.AMBIGUOUS, RepairStep.REPORT),
        (
            ComparedNode(Power.UNKNOWN, UP, ServerState.RUNNING),
            Drift.NOT_UNDERSTOOD,
            RepairStep.REPORT,
        ),
        (ComparedNode(Power.OUT, DOWN, ServerState.UNKNOWN), Drift.UNSEEN, RepairStep.NOTHING),
        (
            ComparedNode(Power.OUT, DOWN, ServerState.RUNNING, held=True),
            Drift.ORPHAN,
            RepairStep.HELD,
        ),
        (ComparedNode(Power.GOING, UP, ServerState.RUNNING), Drift.NONE, RepairStep.NOTHING),
    ],
)
def test_what_is_wrong_and_what_is_done(node: ComparedNode, drift: Drift, step: RepairStep) -> None:
    found = decide_drift(node, FOR_LONG, PATIENCE)
    assert (found.drift, found.step) == (drift, step)


def test_what_burns_has_its_grace_and_a_dead_node_is_lit_again_at_once() -> None:
    orphan = ComparedNode(Power.OUT, DOWN, ServerState.RUNNING)
    assert decide_drift(orphan, DriftPast(seconds=29.9), PATIENCE).step is RepairStep.WAIT
    assert decide_drift(orphan, DriftPast(seconds=30.0), PATIENCE).step is RepairStep.SUSPEND
    dead = ComparedNode(Power.LIT, UP, ServerState.OUT)
    assert decide_drift(dead, DriftPast(), PATIENCE).step is RepairStep.RESUME
    # Slurm waits for it, and its own hook may be on its way
    coming = replace(dead, power=Power.COMING)
    assert decide_drift(coming, DriftPast(), PATIENCE).step is RepairStep.WAIT


@pytest.mark.parametrize(("asked", "seconds"), [(1, 300.0), (2, 600.0), (3, 1200.0), (50, 3600.0)])
def test_a_repair_that_does_not_help_is_asked_for_ever_less_often(
    asked: int, seconds: float
) -> None:
    dead = ComparedNode(Power.LIT, UP, ServerState.OUT)
    before = DriftPast(seconds=1e6, asked=asked, asked_seconds=seconds - 0.1)
    assert decide_drift(dead, before, PATIENCE).step is RepairStep.WAIT
    assert (
        decide_drift(dead, replace(before, asked_seconds=seconds), PATIENCE).step
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
        ("NEW_WORD", None, Strategy.STOP, ServerState.UNKNOWN),
    ],
)
def test_what_a_server_amounts_to(
    status: str, task: str | None, strategy: Strategy, seen: ServerState
) -> None:
    assert seen_as((Server("id", "node1", status, task),), strategy) is seen


def test_a_stray_is_deleted_only_where_that_is_configured_and_after_its_grace() -> None:
    deletes = replace(PATIENCE, delete_strays=True)
    assert decide_stray(FOR_LONG, PATIENCE).step is RepairStep.REPORT
    assert decide_stray(DriftPast(seconds=29.0), deletes).step is RepairStep.REPORT
    assert decide_stray(FOR_LONG, deletes).step is RepairStep.DELETE


def test_no_server_and_several_servers() -> None:
    two = (Server("a", "node1", "ACTIVE"), Server("b", "node1", "SHUTOFF"))
    assert seen_as((), Strategy.STOP) is ServerState.GONE
    assert seen_as(two, Strategy.STOP) is ServerState.SEVERAL
