"""The UWS job of a Slurm job, and the report of a job that ended with a failed boot; input is untrusted."""

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
from workers.slurm.job_events import dry_run_notice, failure_event, identification_events
from workers.slurm.job_origins import Origin, origin_format, origins_from, uws_id
from workers.slurm.nodes import JobState
from workers.slurm.requeued import EndedJob, Requeued, ended_jobs, jobs_on
from workers.slurm.updates import SlurmUpdate, UpdateKind, without_effect

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
def test_only_the_path_that_opus_uses_identifies_a_uws_job(script: str, found: str | None) -> None:
    for jobdata in (JOBDATA, JOBDATA + "/"):
        assert uws_id(script, jobdata) == found


@given(st.lists(words, max_size=4))
def test_script_path_cannot_imitate_another_job(scripts: list[str]) -> None:
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


def test_malformed_jobs_are_omitted() -> None:
    jobs = (("x", "yesterday"), ("1", "N/A"), ("²", SUBMITTED), ("3", SUBMITTED))
    shape = origin_format("|")
    output = "".join(
        shape.replace("%A", a).replace("%V", v).replace("%o", "z") + "\n" for a, v in jobs
    )
    assert set(origins_from(output, "|")) == {3}


def test_failed_job_is_reported_with_its_state_and_cause() -> None:
    updates = tuple(
        SlurmUpdate(
            UpdateKind.TAKE_OUT,
            node,
            "",
            reason(Cause("quota", "used 10 of 10")),
            jobs=frozenset({7}),
        )
        for node in ("node2", "node1")
    )
    requeued = Requeued(frozenset({7, 8}), frozenset({"node1", "node2"}), 1.0, (), updates)
    jobs = {7: JobState(7, "BOOT_FAIL", "node[1-2]"), 8: JobState(8, "PENDING", "")}
    ended = ended_jobs(requeued, jobs)
    assert ended == {7: EndedJob("BOOT_FAIL", updates)}
    origin = Origin(7, MOMENT // NS * NS, "/shared/jobdata/f755f0/sbatch.sh")
    failed_event = failure_event("test", origin, ended[7], JOBDATA, MOMENT)
    assert (failed_event.state, failed_event.nodes, failed_event.uws_id) == (
        "BOOT_FAIL",
        ("node1", "node2"),
        "f755f0",
    )
    assert failed_event.cause == Cause("quota", "used 10 of 10")
    assert failure_event("test", origin, ended[7], None, MOMENT).uws_id is None
    assert job_event_from(parse(failed_event.to_envelope().to_json())) == failed_event


def test_repeated_report_is_the_same_event_but_a_reused_job_id_is_another() -> None:
    one = Origin(7, 100 * NS, "/shared/jobdata/f755f0/sbatch.sh")
    later = Origin(7, 101 * NS, "/shared/jobdata/f755f0/sbatch.sh")
    (first,) = identification_events("test", {7: one}, JOBDATA, 1)
    (second,) = identification_events("test", {7: one}, JOBDATA, 2)
    (other,) = identification_events("test", {7: later}, JOBDATA, 2)
    assert first.id == second.id != other.id
    assert first.transition is JobTransition.IDENTIFIED


def test_altered_event_is_rejected() -> None:
    (failed_event,) = identification_events(
        "test", {7: Origin(7, NS, JOBDATA + "/f755f0/sbatch.sh")}, JOBDATA, 1
    )
    body = failed_event.to_envelope().to_json()
    for old, new in ((b'"job_id":7', b'"job_id":8'), (b'"subject":"7"', b'"subject":"8"')):
        with pytest.raises(MalformedMessageError, match="id"):
            job_event_from(parse(body.replace(old, new)))


def test_jobs_are_found_by_their_nodes() -> None:
    jobs = {1: JobState(1, "NODE_FAIL", "node[1-3]"), 2: JobState(2, "NODE_FAIL", "node4")}
    assert jobs_on("node2", jobs) == {1}
    assert jobs_on("node5", jobs) == frozenset()


def test_dry_run_skips_the_update_and_publishes_a_notice() -> None:
    failed_event = event(Transition.FAILED, cause=Cause("quota", "none"))
    update = without_effect(
        SlurmUpdate(
            UpdateKind.TAKE_OUT, "node1", "x", "lamplighter: quota: none", jobs=frozenset({1})
        )
    )
    assert (update.kind, update.jobs, update.kind.fails_boot) == (
        UpdateKind.DRY_RUN,
        frozenset(),
        False,
    )
    notice = dry_run_notice(failed_event, update)
    assert notice.message == "update of Slurm skipped: take_out: lamplighter: quota: none"
    for kind in (UpdateKind.NOTHING, UpdateKind.WAIT):
        assert without_effect(SlurmUpdate(kind, "node1", "x")).kind is kind
