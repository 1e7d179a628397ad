"""What has begun and ended in Slurm is told once, and nothing that did not happen is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.jobs import JobEvent, JobTransition
from schemas.registrations import Registration
from workers.slurm.nodes import NodeState, nodes_from
from workers.slurm.run_reporter import recall, remember
from workers.slurm.runs import NOTHING, Run, SlurmObservation, Told, news, runs_from

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NS = 1_000_000_000
NOW = 1_000 * NS
OURS = ("node1", "node2")
RUN = Run(7, "RUNNING", 10 * NS, 100 * NS, None, "node[1-2]", "ann")


def look(
    runs: Sequence[Run], before: Told = NOTHING, now: int = NOW
) -> tuple[list[tuple[JobTransition, int, str | None]], Told]:
    """What is told of runs: transition, time, state."""
    told, after = news("test", SlurmObservation({}, runs, now), OURS, before)
    jobs = [event for event in told if isinstance(event, JobEvent)]
    return [(event.transition, event.time, event.state) for event in jobs], after


def test_a_run_is_told_when_it_starts_and_when_it_ends_each_once() -> None:
    assert look([RUN])[0] == [(JobTransition.STARTED, 100 * NS, None)]
    before = look([RUN])[1]
    assert look([RUN], before)[0] == []
    ended = replace(RUN, state="COMPLETED", ended_at=200 * NS)
    told, after = look([ended], before)
    assert told == [(JobTransition.ENDED, 200 * NS, "COMPLETED")]
    assert look([ended], after)[0] == []
    assert look([], after) == ([], NOTHING)


def test_a_run_that_nobody_saw_running_is_told_whole() -> None:
    told, _ = look([replace(RUN, state="TIMEOUT", ended_at=200 * NS)])
    assert [transition for transition, *_ in told] == [JobTransition.STARTED, JobTransition.ENDED]


def test_a_job_whose_nodes_never_booted_did_not_run() -> None:
    booting = replace(RUN, state="CONFIGURING")
    told, before = look([booting])
    assert told == []
    assert look([replace(RUN, state="CANCELLED", ended_at=200 * NS)], before)[0] == []
    # its start is set anew when they have: slurmctld's job_config_fini
    later = replace(RUN, started_at=150 * NS)
    assert look([later], before)[0] == [(JobTransition.STARTED, 150 * NS, None)]


def test_a_job_whose_start_stays_as_it_was_has_run_once_it_was_seen_to() -> None:
    before = look([RUN], look([replace(RUN, state="CONFIGURING")])[1])[1]
    told, _ = look([replace(RUN, state="FAILED", ended_at=200 * NS)], before)
    assert told == [(JobTransition.ENDED, 200 * NS, "FAILED")]


def test_a_run_that_a_requeue_ended_lasts_until_it_was_seen_last() -> None:
    before = look([RUN], now=NOW)[1]
    before = look([replace(RUN, state="COMPLETING")], before, now=NOW + 60 * NS)[1]
    again = replace(RUN, state="CONFIGURING", started_at=NOW + 90 * NS)
    told, after = look([again], before, now=NOW + 120 * NS)
    assert told == [(JobTransition.ENDED, NOW + 60 * NS, "GONE")]
    assert after.running == ()


def test_only_nodes_of_ours_are_told_of() -> None:
    assert look([replace(RUN, nodes="node[3-4]"), replace(RUN, nodes="node[2-")])[0] == []
    ((told,), _) = news(
        "test", SlurmObservation({}, [replace(RUN, nodes="node[2-4]")], NOW), OURS, NOTHING
    )
    assert isinstance(told, JobEvent)
    assert (told.nodes, told.user) == (("node2",), "ann")


def test_a_node_has_registered_whenever_its_slurmd_is_a_new_one() -> None:
    shown = (
        "NodeName=node1 State=IDLE+CLOUD BootTime=90 SlurmdStartTime=100 LastBusyTime=Unknown\n"
        "NodeName=node2 State=IDLE+CLOUD+POWERED_DOWN BootTime=None SlurmdStartTime=None\n"
        "NodeName=login State=IDLE BootTime=90 SlurmdStartTime=100\n"
    )
    nodes = nodes_from(shown)
    told, before = news("test", SlurmObservation(nodes, [], NOW), OURS, NOTHING)
    assert told == [Registration("test", "node1", 100 * NS)]
    assert news("test", SlurmObservation(nodes, [], NOW), OURS, before)[0] == []
    again = {"node1": NodeState("node1", "IDLE", registered_at=300 * NS)}
    assert news("test", SlurmObservation(again, [], NOW), OURS, before)[0] == [
        Registration("test", "node1", 300 * NS)
    ]


def test_squeues_lines_are_read_and_odd_ones_left_out() -> None:
    shown = (
        "7|RUNNING|10|100|1827074162|node[1-2]|ann\n"
        "8|COMPLETED|10|100|200|node1|a|b\n"
        "9|PENDING|10|N/A|N/A||ann\n"
        "x|RUNNING|10|100|NONE|node1|ann\n"
        "10|RUNNING|10\n"
    )
    assert runs_from(shown) == [
        replace(RUN, ended_at=1827074162 * NS),
        Run(8, "COMPLETED", 10 * NS, 100 * NS, 200 * NS, "node1", "a|b"),
    ]


keys = st.tuples(st.integers(1, 9), st.integers(1, 10**18))
runs = st.builds(
    Run,
    job_id=st.integers(1, 9),
    state=st.text(),
    submitted_at=st.integers(1),
    started_at=st.integers(1),
    ended_at=st.none() | st.integers(1),
    nodes=st.text(),
    user=st.text(),
)


@given(
    st.builds(
        Told,
        registered=st.dictionaries(st.text(), st.integers(1)),
        running=st.lists(runs, max_size=3).map(tuple),
        booting=st.frozensets(keys, max_size=3),
        over=st.frozensets(keys, max_size=3),
    )
)
def test_what_was_told_outlives_a_restart(
    tmp_path_factory: pytest.TempPathFactory, told: Told
) -> None:
    path = tmp_path_factory.mktemp("state") / "chronicle.json"
    remember(path, told)
    assert recall(path) == told
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"registered":[]}', b"\xff", b"null"])
def test_of_a_damaged_file_nothing_is_known_and_all_is_told_again(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "chronicle.json"
    path.write_bytes(content)
    assert recall(path) == NOTHING
    assert recall(tmp_path / "missing") == NOTHING
