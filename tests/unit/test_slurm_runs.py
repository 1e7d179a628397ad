"""Registrations and job runs are reported once, and only if they happened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.jobs import JobEvent, JobTransition
from schemas.registrations import Registration
from workers.slurm.nodes import JobState, NodeState, nodes_from
from workers.slurm.run_reporter import recall, remember
from workers.slurm.runs import NOTHING, Reported, Run, SlurmObservation, changes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NS = 1_000_000_000
NOW = 1_000 * NS
NODES = ("node1", "node2")
RUN = JobState(7, "RUNNING", "node[1-2]", 10 * NS, 100 * NS, None, "ann")


def observe(
    runs: Sequence[JobState], before: Reported = NOTHING, now: int = NOW
) -> tuple[list[tuple[JobTransition, int, str | None]], Reported]:
    """The reported events of runs: transition, time, state."""
    reported, after = changes("test", SlurmObservation({}, runs, now), NODES, before)
    jobs = [event for event in reported if isinstance(event, JobEvent)]
    return [(event.transition, event.time, event.state) for event in jobs], after


def test_start_and_end_of_a_run_are_reported_once_each() -> None:
    assert observe([RUN])[0] == [(JobTransition.STARTED, 100 * NS, None)]
    before = observe([RUN])[1]
    assert observe([RUN], before)[0] == []
    ended = replace(RUN, state="COMPLETED", ended_at=200 * NS)
    reported, after = observe([ended], before)
    assert reported == [(JobTransition.ENDED, 200 * NS, "COMPLETED")]
    assert observe([ended], after)[0] == []
    assert observe([], after) == ([], NOTHING)


def test_run_that_was_never_seen_running_is_reported_with_start_and_end() -> None:
    reported, _ = observe([replace(RUN, state="TIMEOUT", ended_at=200 * NS)])
    assert [transition for transition, *_ in reported] == [
        JobTransition.STARTED,
        JobTransition.ENDED,
    ]


def test_job_whose_nodes_never_booted_did_not_run() -> None:
    booting = replace(RUN, state="CONFIGURING")
    reported, before = observe([booting])
    assert reported == []
    assert observe([replace(RUN, state="CANCELLED", ended_at=200 * NS)], before)[0] == []
    # when they have booted, slurmctld sets the start again (job_config_fini)
    later = replace(RUN, started_at=150 * NS)
    assert observe([later], before)[0] == [(JobTransition.STARTED, 150 * NS, None)]


def test_job_that_was_seen_running_has_run_although_its_start_did_not_change() -> None:
    before = observe([RUN], observe([replace(RUN, state="CONFIGURING")])[1])[1]
    reported, _ = observe([replace(RUN, state="FAILED", ended_at=200 * NS)], before)
    assert reported == [(JobTransition.ENDED, 200 * NS, "FAILED")]


def test_run_that_a_requeue_ended_lasts_until_it_was_last_seen() -> None:
    before = observe([RUN], now=NOW)[1]
    before = observe([replace(RUN, state="COMPLETING")], before, now=NOW + 60 * NS)[1]
    again = replace(RUN, state="CONFIGURING", started_at=NOW + 90 * NS)
    reported, after = observe([again], before, now=NOW + 120 * NS)
    assert reported == [(JobTransition.ENDED, NOW + 60 * NS, "GONE")]
    assert after.running == ()


def test_only_configured_nodes_are_reported() -> None:
    assert observe([replace(RUN, nodes="node[3-4]"), replace(RUN, nodes="node[2-")])[0] == []
    ((reported,), _) = changes(
        "test", SlurmObservation({}, [replace(RUN, nodes="node[2-4]")], NOW), NODES, NOTHING
    )
    assert isinstance(reported, JobEvent)
    assert (reported.nodes, reported.user) == (("node2",), "ann")


def test_a_run_whose_node_leaves_the_configuration_goes_on_to_its_own_end() -> None:
    before = observe([RUN])[1]

    def without_nodes(job: JobState, before: Reported) -> tuple[list[str | None], Reported]:
        events, after = changes("test", SlurmObservation({}, [job], NOW), (), before)
        return [event.state for event in events if isinstance(event, JobEvent)], after

    states, before = without_nodes(RUN, before)
    assert states == []
    assert without_nodes(replace(RUN, state="COMPLETED", ended_at=200 * NS), before)[0] == [
        "COMPLETED"
    ]


def test_each_new_slurmd_of_a_node_is_a_registration() -> None:
    output = (
        "NodeName=node1 State=IDLE+CLOUD BootTime=90 SlurmdStartTime=100 LastBusyTime=Unknown\n"
        "NodeName=node2 State=IDLE+CLOUD+POWERED_DOWN BootTime=None SlurmdStartTime=None\n"
        "NodeName=login State=IDLE BootTime=90 SlurmdStartTime=100\n"
    )
    nodes = nodes_from(output)
    reported, before = changes("test", SlurmObservation(nodes, [], NOW), NODES, NOTHING)
    assert reported == [Registration("test", "node1", 100 * NS)]
    assert changes("test", SlurmObservation(nodes, [], NOW), NODES, before)[0] == []
    again = {"node1": NodeState("node1", "IDLE", registered_at=300 * NS)}
    assert changes("test", SlurmObservation(again, [], NOW), NODES, before)[0] == [
        Registration("test", "node1", 300 * NS)
    ]


JOBDATA = "/shared/jobdata"


def test_uws_job_of_a_run_is_reported_on_nodes_that_were_on_already() -> None:
    job = replace(RUN, script=f"{JOBDATA}/f755f0/sbatch.sh")
    events, before = changes("test", SlurmObservation({}, [job], NOW), NODES, NOTHING, JOBDATA)
    events += changes("test", SlurmObservation({}, [], NOW), NODES, before, JOBDATA)[0]
    assert [event.uws_id for event in events if isinstance(event, JobEvent)] == ["f755f0"] * 2
    assert len(events) == 2


@pytest.mark.parametrize("state", ["NODE_FAIL", "BOOT_FAIL", "CANCELLED", "PREEMPTED", "DEADLINE"])
@pytest.mark.parametrize("exit_code", [0, 1])
def test_job_that_ends_without_a_sign_that_it_ran_is_never_reported(
    state: str, exit_code: int
) -> None:
    """Whether or not an observation saw it wait; nor while it leaves its other nodes."""
    ended = replace(RUN, state=state, ended_at=200 * NS, exit_code=exit_code)
    before = NOTHING
    for job in (replace(RUN, state="CONFIGURING"), replace(ended, state="COMPLETING"), ended):
        assert observe([job])[0] == []
        reported, before = observe([job], before)
        assert reported == []


@pytest.mark.parametrize(
    ("state", "exit_code"),
    [("COMPLETED", 0), ("TIMEOUT", 0), ("CANCELLED", 15), ("NODE_FAIL", 15), ("FAILED", 256)],
)
def test_job_that_ran_between_two_observations_is_reported(state: str, exit_code: int) -> None:
    ended = replace(RUN, state=state, ended_at=200 * NS, exit_code=exit_code)
    assert [step for step, *_ in observe([ended])[0]] == [
        JobTransition.STARTED,
        JobTransition.ENDED,
    ]


keys = st.tuples(st.integers(1, 9), st.integers(1, 10**18))
runs = st.builds(
    Run,
    job_id=st.integers(1, 9),
    submitted_at=st.integers(1),
    started_at=st.integers(1),
    nodes=st.lists(st.text()).map(tuple),
    user=st.text(),
)


@given(
    st.builds(
        Reported,
        registered=st.dictionaries(st.text(), st.integers(1)),
        running=st.lists(runs, max_size=3).map(tuple),
        ended=st.frozensets(keys, max_size=3),
    )
)
def test_reported_runs_survive_a_restart(
    tmp_path_factory: pytest.TempPathFactory, reported: Reported
) -> None:
    path = tmp_path_factory.mktemp("state") / "reported_runs.json"
    remember(path, reported)
    assert recall(path, NOTHING) == reported
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"registered":[]}', b"\xff", b"null"])
def test_damaged_file_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "reported_runs.json"
    path.write_bytes(content)
    assert recall(path, NOTHING) == NOTHING
    assert recall(tmp_path / "missing", NOTHING) == NOTHING
