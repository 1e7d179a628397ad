"""Snapshots: stamped before Slurm is read, cut into parts; what a node state means for its power."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from producers import clock
from producers.snapshot import messages, take
from schemas.errors import MalformedMessageError
from schemas.snapshot import Power, SlurmNode, Snapshot, join_parts, parse_snapshot
from tests.testbed.messages import CORRELATION, MOMENT
from tests.testbed.strategies import snapshots
from workers.slurm.nodes import JobState, nodes_from
from workers.slurm.snapshot_worker import nodes_with_jobs

if TYPE_CHECKING:
    from pathlib import Path

JOB = (7,)


# as 22.05.8 and 24.11.5 print them
@pytest.mark.parametrize(
    ("state", "jobs", "power"),
    [
        ("IDLE+CLOUD", (), Power.ON),
        ("MIXED+CLOUD", JOB, Power.ON),
        ("ALLOCATED+CLOUD+COMPLETING", JOB, Power.ON),
        ("IDLE+CLOUD+DRAIN", (), Power.ON),
        ("IDLE+CLOUD+NOT_RESPONDING", (), Power.ON),
        ("MIXED+CLOUD+NOT_RESPONDING+POWERING_UP", JOB, Power.POWERING_UP),
        ("IDLE+CLOUD+POWERING_UP", (), Power.POWERING_UP),
        ("DOWN+CLOUD+NOT_RESPONDING+POWERING_UP", (), Power.CHANGING),
        ("IDLE+CLOUD+POWER_UP", (), Power.CHANGING),
        ("IDLE+CLOUD+POWERING_DOWN", (), Power.POWERING_DOWN),
        ("MIXED+CLOUD+POWERING_DOWN", JOB, Power.CHANGING),
        # it may still run a job, and is powered off when the job ends
        ("MIXED+CLOUD+POWER_DOWN", JOB, Power.CHANGING),
        ("IDLE+CLOUD+POWER_DOWN", (), Power.CHANGING),
        ("IDLE+CLOUD+POWERED_DOWN", (), Power.OFF),
        ("DOWN+CLOUD+NOT_RESPONDING+POWERED_DOWN", (), Power.OFF),
        # ResumeProgram is about to be called
        ("MIXED+CLOUD+POWERED_DOWN", (), Power.CHANGING),
        ("IDLE+CLOUD+POWERED_DOWN", JOB, Power.CHANGING),
        ("UNKNOWN+CLOUD", (), Power.UNKNOWN),
        ("FUTURE", (), Power.UNKNOWN),
        ("", (), Power.UNKNOWN),
    ],
)
def test_power_of_each_node_state(state: str, jobs: tuple[int, ...], power: Power) -> None:
    assert SlurmNode("node1", state, jobs=jobs).power is power


def test_a_node_set_down_by_an_operator_differs_from_one_that_slurm_lost() -> None:
    assert SlurmNode("node1", "DOWN+CLOUD", "Not responding").power is Power.ON
    assert SlurmNode("node1", "DOWN+CLOUD", "disk is odd").power is Power.SET_DOWN


@given(snapshots)
def test_a_snapshot_comes_back_as_it_was_sent(snapshot: Snapshot) -> None:
    back = parse_snapshot(snapshot.to_envelope().to_json())
    assert replace(back, nodes=()) == replace(snapshot, nodes=())
    assert [(n.node, n.state, n.jobs) for n in back.nodes] == [
        (n.node, n.state, n.jobs) for n in snapshot.nodes
    ]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
def test_parts_are_joined_in_any_order_and_only_when_all_are_there(count: int) -> None:
    nodes = tuple(SlurmNode(f"node{i}", "IDLE") for i in range(count))
    whole = Snapshot("test", MOMENT, CORRELATION, "host", nodes)
    parts = [parse_snapshot(message.body) for message in messages(whole, 10)]
    assert len({message.id for message in messages(whole, 10)}) == len(parts)
    shuffled = random.Random(1).sample(parts, len(parts))  # noqa: S311 - an order
    assert join_parts([*shuffled, shuffled[0]]) == whole
    for missing in range(len(parts)):
        assert join_parts(parts[:missing] + parts[missing + 1 :]) is None


def test_a_snapshot_is_stamped_before_slurm_is_read(tmp_path: Path) -> None:
    """A hook call made after Slurm was read has a newer generation."""
    seen = []

    def read() -> list[SlurmNode]:
        seen.append(clock.stamp(tmp_path))
        return [SlurmNode("node1", "IDLE")]

    assert take("test", tmp_path, read).generation < seen[0]


def test_jobs_are_listed_with_their_nodes_and_an_unreadable_job_list_is_an_error() -> None:
    shown = "\n".join(
        f"NodeName={name} Arch=x State={state} Reason=disk is odd [root@2026-01-02T03:04:05] "
        for name, state in (("node1", "IDLE+CLOUD*"), ("node2", "MIXED+CLOUD"), ("-odd", "IDLE"))
    )
    states = list(nodes_from(shown).values())
    jobs = [JobState(7, "RUNNING", "node[2-3]"), JobState(5, "RUNNING", "node2")]
    assert nodes_with_jobs(states, jobs) == [
        SlurmNode("node1", "IDLE+CLOUD", "disk is odd"),
        SlurmNode("node2", "MIXED+CLOUD", "disk is odd", (5, 7)),
    ]
    with pytest.raises(MalformedMessageError):
        nodes_with_jobs(states, [JobState(7, "RUNNING", "node[2-")])


@pytest.mark.parametrize(
    ("state", "answers"),
    [
        ("IDLE+CLOUD", True),
        ("ALLOCATED+CLOUD+DRAIN", True),
        ("MIXED+CLOUD+COMPLETING", True),
        ("IDLE+CLOUD+NOT_RESPONDING", False),
        ("DOWN+CLOUD", False),
        ("DOWN+CLOUD+NOT_RESPONDING", False),
        ("MIXED+CLOUD+NOT_RESPONDING+POWERING_UP", False),
        ("IDLE+CLOUD+POWERED_DOWN", False),
        ("FUTURE", False),
    ],
)
def test_a_node_answers_only_if_it_is_powered_on_and_slurmctld_hears_its_slurmd(
    state: str, *, answers: bool
) -> None:
    assert SlurmNode("node1", state).answers is answers
