"""Whose a job is, and what is told of one that its node's boot has failed; strings are hostile."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause, Transition
from schemas.jobs import JobTransition, job_event_from
from tests.testbed.messages import MOMENT, event
from tests.testbed.strategies import words
from workers.slurm.causes import reason
from workers.slurm.decide import SlurmUpdate, UpdateKind, rehearsed
from workers.slurm.job_events import failure, identified, rehearsal
from workers.slurm.job_origins import Origin, origin_format, origins_from, uws_id
from workers.slurm.nodes import JobState
from workers.slurm.requeued import Ended, Requeued, failed, on_node

NS = 10**9
JOBDATA = "/shared/jobdata"
SUBMITTED = "1767323045"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("/shared/jobdata/f755f0/sbatch.sh", "f755f0"),
        ("/shared/jobdata//f755f0/sbatch.sh", "f755f0"),
        ("/shared/jobdata/ea5caa9f-0a76-42f5-a1a7/sbatch.sh", "ea5caa9f-0a76-42f5-a1a7"),
        ("/shared/jobdata/f755f0/sbatch.sh --and=more", None),
        ("/shared/jobdata/f755f0/other.sh", None),
        ("/shared/jobdata/f755f0/x/sbatch.sh", None),
        ("/shared/jobdata/../sbatch.sh", None),
        ("/shared/jobdata/../jobdata/f755f0/sbatch.sh", None),
        ("/shared/jobdata/sbatch.sh", None),
        ("/home/x/shared/jobdata/f755f0/sbatch.sh", None),
        ("shared/jobdata/f755f0/sbatch.sh", None),
        ("/shared/jobdata/f7\n55f0/sbatch.sh", None),
        ("/shared/jobdata/f755f0;x/sbatch.sh", None),
        (f"/shared/jobdata/{'f' * 65}/sbatch.sh", None),
        ("", None),
    ],
)
def test_only_opus_own_path_shows_whose_a_job_is(script: str, found: str | None) -> None:
    for jobdata in (JOBDATA, JOBDATA + "/"):
        assert uws_id(script, jobdata) == found


@given(st.lists(words, max_size=4))
def test_no_path_passes_for_another_job(scripts: list[str]) -> None:
    mark = f"|{os.urandom(16).hex()}|"
    shape = origin_format(mark)
    lines = [
        shape.replace("%A", str(number)).replace("%V", SUBMITTED).replace("%o", script)
        for number, script in enumerate(scripts, 1)
    ]
    submitted = int(SUBMITTED) * NS
    found = origins_from("".join(f"{line}\n" for line in lines), mark)
    assert found == {
        number: Origin(number, submitted, script) for number, script in enumerate(scripts, 1)
    }


def test_odd_jobs_are_left_out() -> None:
    jobs = (("x", "yesterday"), ("1", "N/A"), ("²", SUBMITTED), ("3", SUBMITTED))
    shape = origin_format("|")
    shown = "".join(
        shape.replace("%A", a).replace("%V", v).replace("%o", "z") + "\n" for a, v in jobs
    )
    assert set(origins_from(shown, "|")) == {3}


def test_what_failed_is_told_with_slurms_word_and_the_cause() -> None:
    actions = tuple(
        SlurmUpdate(
            UpdateKind.TAKE_OUT,
            node,
            "",
            reason(Cause("quota", "used 10 of 10")),
            jobs=frozenset({7}),
        )
        for node in ("node2", "node1")
    )
    waiting: Requeued[object] = Requeued(
        frozenset({7, 8}), frozenset({"node1", "node2"}), 1.0, (), actions
    )
    jobs = {7: JobState(7, "BOOT_FAIL", "node[1-2]"), 8: JobState(8, "PENDING", "")}
    ended = failed(waiting, jobs)
    assert ended == {7: Ended("BOOT_FAIL", actions)}
    origin = Origin(7, MOMENT // NS * NS, "/shared/jobdata/f755f0/sbatch.sh")
    told = failure("test", origin, ended[7], JOBDATA, MOMENT)
    assert (told.state, told.nodes, told.uws_id) == ("BOOT_FAIL", ("node1", "node2"), "f755f0")
    assert told.cause == Cause("quota", "used 10 of 10")
    assert failure("test", origin, ended[7], None, MOMENT).uws_id is None
    assert job_event_from(parse(told.to_envelope().to_json())) == told


def test_told_twice_it_is_the_same_event_and_a_later_job_of_the_same_number_is_another() -> None:
    one = Origin(7, 100 * NS, "/shared/jobdata/f755f0/sbatch.sh")
    later = Origin(7, 101 * NS, "/shared/jobdata/f755f0/sbatch.sh")
    (first,) = identified("test", {7: one}, JOBDATA, 1)
    (second,) = identified("test", {7: one}, JOBDATA, 2)
    (other,) = identified("test", {7: later}, JOBDATA, 2)
    assert first.id == second.id != other.id
    assert first.transition is JobTransition.IDENTIFIED


def test_an_altered_event_is_refused() -> None:
    (told,) = identified("test", {7: Origin(7, NS, JOBDATA + "/f755f0/sbatch.sh")}, JOBDATA, 1)
    body = told.to_envelope().to_json()
    for old, new in ((b'"job_id":7', b'"job_id":8'), (b'"subject":"7"', b'"subject":"8"')):
        with pytest.raises(MalformedMessageError, match="id"):
            job_event_from(parse(body.replace(old, new)))


def test_jobs_are_known_by_the_nodes_they_have() -> None:
    jobs = {1: JobState(1, "NODE_FAIL", "node[1-3]"), 2: JobState(2, "NODE_FAIL", "node4")}
    assert on_node("node2", jobs) == {1}
    assert on_node("node5", jobs) == frozenset()


def test_in_a_dry_run_slurm_is_told_nothing_and_the_audit_what_it_would_be() -> None:
    told = event(Transition.FAILED, cause=Cause("quota", "none"))
    action = rehearsed(
        SlurmUpdate(
            UpdateKind.TAKE_OUT, "node1", "x", "lamplighter: quota: none", jobs=frozenset({1})
        )
    )
    assert (action.step, action.jobs, action.step.fails) == (UpdateKind.DRY, frozenset(), False)
    notice = rehearsal(told, action)
    assert notice.message == "Slurm would be told: take_out: lamplighter: quota: none"
    for step in (UpdateKind.NOTHING, UpdateKind.WAIT):
        assert rehearsed(SlurmUpdate(step, "node1", "x")).step is step
