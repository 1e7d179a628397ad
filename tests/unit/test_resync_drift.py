"""P9: what is running becomes what Slurm wants; and nothing is put out unless Slurm surely says so."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from schemas.commands import Desired
from schemas.snapshot import Power
from workers.clouds.actions import Strategy
from workers.clouds.servers import Server
from workers.resync.drift import (
    TABLE,
    Drift,
    Node,
    Past,
    Patience,
    Seen,
    Step,
    decide_drift,
    decide_stray,
    find_drift,
    seen_as,
)

PATIENCE = Patience(grace=30.0, repeat_after=300.0)
FOR_LONG = Past(seconds=1e6)
UP, DOWN = Desired.UP, Desired.DOWN
EVERYTHING = [
    Node(power, desired, seen, newer, busy, held, frees)
    for power, desired, seen, newer, busy, held, frees in product(
        Power, (*Desired, None), Seen, *[(False, True)] * 4
    )
]


def test_the_table_knows_every_case() -> None:
    for power, wanted in product(Power, (False, True)):
        assert set(TABLE[power, wanted]) == set(Seen)


def test_a_node_is_put_out_only_where_slurm_holds_it_to_be_powered_down() -> None:
    put_out = [node for node in EVERYTHING if find_drift(node).step is Step.SUSPEND]
    assert put_out
    for node in put_out:
        assert node.power is Power.OUT
        assert node.seen not in {Seen.UNKNOWN, Seen.SEVERAL, Seen.BETWEEN}


def test_a_node_is_lit_only_where_slurm_counts_on_it() -> None:
    lit = [node for node in EVERYTHING if find_drift(node).step is Step.RESUME]
    assert {node.power for node in lit} == {Power.LIT, Power.COMING}
    assert all(node.desired is not Desired.GONE or node.seen is not Seen.GONE for node in lit)


def test_nothing_is_asked_of_a_node_that_is_held_busy_or_newer_than_the_snapshot() -> None:
    for node in EVERYTHING:
        if node.held or node.busy or node.newer:
            assert find_drift(node).step not in {Step.RESUME, Step.SUSPEND}


def test_what_is_not_seen_or_not_understood_is_left_alone() -> None:
    for node in EVERYTHING:
        if Seen.UNKNOWN is node.seen or node.power is Power.UNKNOWN:
            assert find_drift(node).step in {Step.NOTHING, Step.REPORT, Step.HELD}


@pytest.mark.parametrize(
    ("node", "drift", "step"),
    [
        (Node(Power.OUT, DOWN, Seen.RUNNING), Drift.ORPHAN, Step.SUSPEND),
        (Node(Power.OUT, None, Seen.RUNNING), Drift.ORPHAN, Step.SUSPEND),
        (Node(Power.OUT, DOWN, Seen.LEFT), Drift.ORPHAN, Step.SUSPEND),
        (Node(Power.OUT, None, Seen.LEFT), Drift.NONE, Step.NOTHING),
        # deployed for later: its strategy would delete what an operator has just made
        (Node(Power.OUT, Desired.READY, Seen.LEFT, frees=True), Drift.NONE, Step.NOTHING),
        (Node(Power.OUT, Desired.READY, Seen.RUNNING), Drift.ORPHAN, Step.SUSPEND),
        (Node(Power.OUT, UP, Seen.RUNNING), Drift.GHOST, Step.SUSPEND),
        (Node(Power.OUT, UP, Seen.OUT), Drift.GHOST, Step.SUSPEND),
        (Node(Power.OUT, DOWN, Seen.OUT), Drift.NONE, Step.NOTHING),
        (Node(Power.OUT, DOWN, Seen.BROKEN), Drift.BROKEN, Step.REPORT),
        (Node(Power.OUT, DOWN, Seen.BROKEN, frees=True), Drift.BROKEN, Step.SUSPEND),
        (Node(Power.LIT, UP, Seen.RUNNING), Drift.NONE, Step.NOTHING),
        (Node(Power.LIT, UP, Seen.OUT), Drift.DEAD, Step.RESUME),
        (Node(Power.LIT, UP, Seen.GONE), Drift.DEAD, Step.RESUME),
        (Node(Power.LIT, UP, Seen.BROKEN), Drift.DEAD, Step.RESUME),
        (Node(Power.COMING, UP, Seen.BROKEN), Drift.DEAD, Step.RESUME),
        (Node(Power.LIT, DOWN, Seen.RUNNING), Drift.UNASKED, Step.RESUME),
        (Node(Power.LIT, None, Seen.RUNNING), Drift.UNASKED, Step.RESUME),
        # an operator has put it out, and Slurm was not told
        (Node(Power.LIT, Desired.GONE, Seen.GONE), Drift.UNASKED, Step.REPORT),
        (Node(Power.LIT, Desired.READY, Seen.OUT), Drift.UNASKED, Step.REPORT),
        (Node(Power.LIT, Desired.BAKED, Seen.OUT), Drift.UNASKED, Step.REPORT),
        (Node(Power.LIT, Desired.ADOPTED, Seen.OUT), Drift.UNASKED, Step.RESUME),
        (Node(Power.LIT, Desired.READY, Seen.RUNNING), Drift.UNASKED, Step.RESUME),
        (Node(Power.ASIDE, UP, Seen.OUT), Drift.SET_ASIDE, Step.REPORT),
        (Node(Power.ASIDE, DOWN, Seen.RUNNING), Drift.NONE, Step.NOTHING),
        (Node(Power.LIT, UP, Seen.SEVERAL), Drift.AMBIGUOUS, Step.REPORT),
        (Node(Power.UNKNOWN, UP, Seen.RUNNING), Drift.NOT_UNDERSTOOD, Step.REPORT),
        (Node(Power.OUT, DOWN, Seen.UNKNOWN), Drift.UNSEEN, Step.NOTHING),
        (Node(Power.OUT, DOWN, Seen.RUNNING, held=True), Drift.ORPHAN, Step.HELD),
        (Node(Power.GOING, UP, Seen.RUNNING), Drift.NONE, Step.NOTHING),
    ],
)
def test_what_is_wrong_and_what_is_done(node: Node, drift: Drift, step: Step) -> None:
    found = decide_drift(node, FOR_LONG, PATIENCE)
    assert (found.drift, found.step) == (drift, step)


def test_what_burns_has_its_grace_and_a_dead_node_is_lit_again_at_once() -> None:
    orphan = Node(Power.OUT, DOWN, Seen.RUNNING)
    assert decide_drift(orphan, Past(seconds=29.9), PATIENCE).step is Step.WAIT
    assert decide_drift(orphan, Past(seconds=30.0), PATIENCE).step is Step.SUSPEND
    dead = Node(Power.LIT, UP, Seen.OUT)
    assert decide_drift(dead, Past(), PATIENCE).step is Step.RESUME
    # Slurm waits for it, and its own hook may be on its way
    coming = replace(dead, power=Power.COMING)
    assert decide_drift(coming, Past(), PATIENCE).step is Step.WAIT


@pytest.mark.parametrize(("asked", "seconds"), [(1, 300.0), (2, 600.0), (3, 1200.0), (50, 3600.0)])
def test_a_repair_that_does_not_help_is_asked_for_ever_less_often(
    asked: int, seconds: float
) -> None:
    dead = Node(Power.LIT, UP, Seen.OUT)
    before = Past(seconds=1e6, asked=asked, asked_seconds=seconds - 0.1)
    assert decide_drift(dead, before, PATIENCE).step is Step.WAIT
    assert decide_drift(dead, replace(before, asked_seconds=seconds), PATIENCE).step is Step.RESUME


@pytest.mark.parametrize(
    ("status", "task", "strategy", "seen"),
    [
        ("ACTIVE", None, Strategy.STOP, Seen.RUNNING),
        ("ACTIVE", "powering-off", Strategy.STOP, Seen.BETWEEN),
        ("BUILD", None, Strategy.DELETE, Seen.BETWEEN),
        ("SHUTOFF", None, Strategy.STOP, Seen.OUT),
        ("SHUTOFF", None, Strategy.SHELVE, Seen.LEFT),
        ("SHUTOFF", None, Strategy.DELETE, Seen.LEFT),
        ("SHELVED_OFFLOADED", None, Strategy.SHELVE, Seen.OUT),
        ("PAUSED", None, Strategy.STOP, Seen.LEFT),
        ("ERROR", None, Strategy.STOP, Seen.BROKEN),
        ("ERROR", "deleting", Strategy.STOP, Seen.BROKEN),
        ("NEW_WORD", None, Strategy.STOP, Seen.UNKNOWN),
    ],
)
def test_what_a_server_amounts_to(
    status: str, task: str | None, strategy: Strategy, seen: Seen
) -> None:
    assert seen_as((Server("id", "node1", status, task),), strategy) is seen


def test_a_stray_is_deleted_only_where_that_is_configured_and_after_its_grace() -> None:
    deletes = replace(PATIENCE, delete_strays=True)
    assert decide_stray(FOR_LONG, PATIENCE).step is Step.REPORT
    assert decide_stray(Past(seconds=29.0), deletes).step is Step.REPORT
    assert decide_stray(FOR_LONG, deletes).step is Step.DELETE


def test_no_server_and_several_servers() -> None:
    two = (Server("a", "node1", "ACTIVE"), Server("b", "node1", "SHUTOFF"))
    assert seen_as((), Strategy.STOP) is Seen.GONE
    assert seen_as(two, Strategy.STOP) is Seen.SEVERAL
