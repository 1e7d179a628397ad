"""Each end of a UWS job is reported once, whether the job ran or not; waits for cool-downs are reported."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.envelope import parse
from schemas.jobs import JobEvent, JobTransition, job_event_from
from schemas.snapshot import OWN_REASON
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import JobState, NodeState, nodes_from
from workers.slurm.run_reporter import recall, remember
from workers.slurm.runs import ENDED_STATES, GONE
from workers.slurm.uws_jobs import (
    REVOKED,
    ReportedUwsJobs,
    ShownJob,
    UwsObservation,
    shown_jobs,
    uws_changes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NS = 1_000_000_000
NOW = 1_000 * NS
PENDING = ShownJob(7, 10 * NS, "f755f0", "PENDING", partitions=frozenset({"cloud"}))
NODES = {
    "node1": NodeState("node1", "DOWN", partitions="all,cloud"),
    "node2": NodeState("node2", "DOWN", partitions="gpu"),
}
DOWN = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"


def observe(
    shown: Sequence[ShownJob],
    before: ReportedUwsJobs | None = None,
    returning: Mapping[str, NodeMemory] | None = None,
) -> tuple[list[JobEvent], ReportedUwsJobs]:
    seen = UwsObservation(shown, NODES, returning or {}, NOW)
    return uws_changes("test", seen, before or ReportedUwsJobs())


def cooling(node: str, due_at: int) -> NodeMemory:
    reason = f"{OWN_REASON}quota: dépassé"
    return NodeMemory(node, 1, 1, Due.RETURN, due_at, "quota", reason)


def steps(events: Sequence[JobEvent]) -> list[tuple[JobTransition, str | None]]:
    return [(event.transition, event.state) for event in events]


@pytest.mark.parametrize("state", [*ENDED_STATES, REVOKED])
def test_each_end_is_reported_once_with_its_time(state: str) -> None:
    events, before = observe([PENDING])
    assert steps(events) == [(JobTransition.IDENTIFIED, None)]
    running = replace(PENDING, state="RUNNING", nodes="node[1-2]")
    assert observe([running], before)[0] == []
    ended = replace(running, state=state, ended_at=900 * NS)
    (finished,), after = observe([ended], before)
    assert steps([finished]) == [(JobTransition.FINISHED, state)]
    assert (finished.time, finished.nodes, finished.uws_id) == (
        900 * NS,
        ("node1", "node2"),
        "f755f0",
    )
    assert observe([ended], after) == ([], after)
    assert observe([], after) == ([], ReportedUwsJobs())


# squeue(1) of 22.05 and 24.11, "JOB STATE CODES"
ALL_STATES = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "CONFIGURING",
        "COMPLETING",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PENDING",
        "PREEMPTED",
        "RUNNING",
        "RESV_DEL_HOLD",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "REQUEUED",
        "RESIZING",
        "REVOKED",
        "SIGNALING",
        "SPECIAL_EXIT",
        "STAGE_OUT",
        "STOPPED",
        "SUSPENDED",
        "TIMEOUT",
    ]
)
# Of a job that runs, waits, comes again, or still leaves its nodes.
GOES_ON = sorted(ALL_STATES - {*ENDED_STATES, REVOKED})


def test_slurm_knows_every_state_that_ends_a_job() -> None:
    assert {*ENDED_STATES, REVOKED} <= ALL_STATES


@pytest.mark.parametrize("state", GOES_ON)
def test_a_job_that_goes_on_is_not_finished(state: str) -> None:
    """Also where Slurm shows an end: of the run before, or of a run beyond its limit."""
    before = observe([PENDING])[1]
    assert observe([replace(PENDING, state=state, ended_at=900 * NS)], before)[0] == []


def test_a_job_that_another_cluster_runs_ends_when_slurm_says_when_it_ended() -> None:
    before = observe([PENDING])[1]
    revoked = replace(PENDING, state=REVOKED)
    for open_end in (None, NOW + NS):
        assert observe([replace(revoked, ended_at=open_end)], before)[0] == []
    (finished,), _ = observe([replace(revoked, ended_at=900 * NS)], before)
    assert steps([finished]) == [(JobTransition.FINISHED, REVOKED)]


@pytest.mark.parametrize("state", ["NODE_FAIL", "BOOT_FAIL"])
def test_the_cause_of_a_failed_boot_is_reported_before_the_end(state: str) -> None:
    before = observe([PENDING])[1]
    just_now = replace(PENDING, state=state, ended_at=NOW - 9 * NS)
    events, before = observe([just_now], before)
    assert events == []
    ended = replace(just_now, ended_at=NOW - 10 * NS)
    assert steps(observe([ended], before)[0]) == [(JobTransition.FINISHED, state)]


def test_a_job_that_was_never_seen_is_identified_and_finished() -> None:
    events, _ = observe([replace(PENDING, state="CANCELLED", ended_at=900 * NS)])
    assert steps(events) == [
        (JobTransition.IDENTIFIED, None),
        (JobTransition.FINISHED, "CANCELLED"),
    ]


def test_a_job_that_slurm_no_longer_shows_is_gone() -> None:
    """A requeue, which changes the time of submission, is none; nor is a new uws_jobdata."""
    before = observe([PENDING])[1]
    assert steps(observe([], before)[0]) == [(JobTransition.FINISHED, GONE)]
    again = replace(PENDING, submitted_at=500 * NS)
    assert steps(observe([again], before)[0]) == [(JobTransition.IDENTIFIED, None)]
    other = replace(PENDING, submitted_at=500 * NS, uws_id="c0ffee")
    assert (JobTransition.FINISHED, GONE) in steps(observe([other], before)[0])


def test_jobs_of_others_are_never_reported() -> None:
    shown = [replace(PENDING, uws_id=None, state=state) for state in (*ENDED_STATES, "PENDING")]
    assert observe(shown) == ([], ReportedUwsJobs())


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (DOWN, ("node1",)),
        ("ReqNodeNotAvail, UnavailableNodes:node[1-2]", ("node1", "node2")),
        ("ReqNodeNotAvail, UnavailableNodes:node[2-", ()),
        ("ReqNodeNotAvail, UnavailableNodes:node9", ()),
        ("Resources", ()),
        ("Priority", ()),
    ],
)
def test_a_wait_for_nodes_in_cool_down_is_reported_once_for_each_return(
    reason: str, expected: tuple[str, ...]
) -> None:
    before = observe([PENDING])[1]
    shown = [replace(PENDING, reason=reason)]
    returning = {name: cooling(name, (2000 + n) * NS + 5) for n, name in enumerate(NODES)}
    events, after = observe(shown, before, returning)
    assert [event.nodes for event in events] == [expected] * bool(expected)
    assert observe(shown, after, returning)[0] == []
    for event in events:
        assert event.returns_at == 2000 * NS
        assert event.cause
        assert (event.cause.error, event.cause.message) == ("quota", "dépassé")
        assert job_event_from(parse(event.to_envelope().to_json())) == event
    later = {name: cooling(name, 5000 * NS) for name in NODES}
    assert len(observe(shown, after, later)[0]) == bool(expected)
    assert observe([replace(shown[0], state="RUNNING")], before, returning)[0] == []


def test_jobs_are_shown_with_the_uws_job_that_they_run_for() -> None:
    jobs = [
        JobState(7, "PENDING", "", 10 * NS, script="/data/f755f0/sbatch.sh", partitions="a,b"),
        JobState(8, "TIMEOUT", "n1", 10 * NS, None, 99 * NS, script="/x", reason="TimeLimit"),
        JobState(9, "PENDING", "", None, script="/data/f7/sbatch.sh"),
    ]
    assert shown_jobs(jobs, "/data") == [
        ShownJob(7, 10 * NS, "f755f0", "PENDING", partitions=frozenset({"a", "b"})),
        ShownJob(
            *(8, 10 * NS, None, "TIMEOUT", 99 * NS, "n1"),
            partitions=frozenset({""}),
            reason="TimeLimit",
        ),
    ]


def test_partitions_of_a_node_are_parsed() -> None:
    found = nodes_from(
        "NodeName=n1 State=IDLE+CLOUD Partitions=cloud,all \nNodeName=n2 State=IDLE\n"
    )
    assert (found["n1"].partitions, found["n2"].partitions) == ("cloud,all", "")


def test_reported_jobs_survive_a_restart(tmp_path: Path) -> None:
    returning = {"node1": cooling("node1", 2000 * NS)}
    reported = observe([replace(PENDING, reason=DOWN)], None, returning)[1]
    assert reported.waiting
    remember(tmp_path / "x.json", reported)
    assert recall(tmp_path / "x.json", ReportedUwsJobs()) == reported
