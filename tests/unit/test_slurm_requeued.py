"""The UWS job of a Slurm job, and the report of a job that ended with a failed boot; input is untrusted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause, Transition
from schemas.jobs import JobTransition, job_event_from
from tests.testbed.deliveries import RecordingLink
from tests.testbed.messages import MOMENT, event
from workers.slurm.causes import reason
from workers.slurm.commands import SlurmAwayError
from workers.slurm.failed_jobs import FailedJobs
from workers.slurm.job_events import dry_run_notice, failure_event, identification_events
from workers.slurm.job_origins import uws_id
from workers.slurm.nodes import JobState
from workers.slurm.requeued import (
    WAIT_SECONDS,
    EndedJob,
    FailedBoot,
    Requeued,
    ended_jobs,
    jobs_on,
)
from workers.slurm.updates import SlurmUpdate, UpdateKind, without_effect

if TYPE_CHECKING:
    from workers.broker.link import Link
    from workers.slurm.job_events import JobEvents
    from workers.slurm.scontrol import Slurm

NS = 10**9
JOBDATA = "/shared/jobdata"
SCRIPT = "/shared/jobdata/f755f0/sbatch.sh"


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
    assert uws_id(script, None) is None


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
    failed = JobState(7, "BOOT_FAIL", "node[1-2]", MOMENT // NS * NS, script=SCRIPT)
    jobs = {7: failed, 8: JobState(8, "PENDING", "")}
    ended = ended_jobs(requeued, jobs)
    assert ended == {7: EndedJob(failed, updates)}
    failed_event = failure_event("test", ended[7], JOBDATA, MOMENT)
    assert (failed_event.state, failed_event.nodes, failed_event.uws_id) == (
        "BOOT_FAIL",
        ("node1", "node2"),
        "f755f0",
    )
    assert failed_event.cause == Cause("quota", "used 10 of 10")
    assert failure_event("test", ended[7], None, MOMENT).uws_id is None
    assert job_event_from(parse(failed_event.to_envelope().to_json())) == failed_event


def test_repeated_report_is_the_same_event_but_a_reused_job_id_is_another() -> None:
    one = JobState(7, "CONFIGURING", "node1", 100 * NS, script=SCRIPT)
    later = replace(one, submitted_at=101 * NS)
    (first,) = identification_events("test", {7: one}, JOBDATA, 1)
    (second,) = identification_events("test", {7: one}, JOBDATA, 2)
    (other,) = identification_events("test", {7: later}, JOBDATA, 2)
    assert first.id == second.id != other.id
    assert first.transition is JobTransition.IDENTIFIED


def test_altered_event_is_rejected() -> None:
    job = JobState(7, "CONFIGURING", "node1", NS, script=SCRIPT)
    (failed_event,) = identification_events("test", {7: job}, JOBDATA, 1)
    body = failed_event.to_envelope().to_json()
    for old, new in ((b'"job_id":7', b'"job_id":8'), (b'"subject":"7"', b'"subject":"8"')):
        with pytest.raises(MalformedMessageError, match="id"):
            job_event_from(parse(body.replace(old, new)))


def failed_job(job_id: int, nodes: str, started: float, ended: float) -> JobState:
    """A job that has lost a node; times in seconds."""
    return JobState(job_id, "NODE_FAIL", nodes, NS, int(started * NS), int(ended * NS))


def test_jobs_that_waited_for_a_boot_are_found_by_their_nodes_and_times() -> None:
    """Slurm shows each job that has lost a node for MinJobAge: also those that ran on it."""
    boot = FailedBoot(100 * NS + 5, 160 * NS + 5)
    waited = failed_job(1, "node[1-3]", 99, 160)
    assert jobs_on("node2", {1: waited}, boot) == {1}
    assert jobs_on("node5", {1: waited}, boot) == frozenset()
    assert jobs_on("node2", {1: failed_job(1, "node2", 99, 100)}, boot) == {1}
    ran_before, ran_later = failed_job(1, "node2", 10, 99), failed_job(1, "node2", 161, 200)
    assert jobs_on("node2", {1: ran_before}, boot) == frozenset()
    assert jobs_on("node2", {1: ran_later}, boot) == frozenset()
    assert jobs_on("node2", {1: JobState(1, "NODE_FAIL", "node2")}, boot) == frozenset()


class AwayForLong:
    """slurmctld: does not answer for some minutes, then shows these states one after the other."""

    def __init__(self, *states: str, leader: int | None = None) -> None:
        self.states = [*states]
        self.leader = leader
        self.is_away = True
        self.started: list[int] = []

    def jobs(self, job_ids: frozenset[int]) -> dict[int, JobState]:
        if self.is_away:
            raise SlurmAwayError("slurmctld is not up")
        state = self.states.pop(0) if self.states else "COMPLETING"
        return {job_id: JobState(job_id, state, "node2", leader=self.leader) for job_id in job_ids}

    def start_now(self, job_ids: frozenset[int]) -> None:
        self.started += job_ids


class NothingEnded:
    """No job has ended for good."""

    def report_ended(self, ended: object) -> None:
        assert ended == {}


def test_all_parts_of_a_heterogeneous_job_start_now_if_one_was_requeued() -> None:
    """Slurm has requeued and delayed them all, and starts them together."""
    slurm, link = AwayForLong("PENDING", leader=7), cast("Link", RecordingLink())
    slurm.is_away = False
    followed = FailedJobs(cast("Slurm", slurm), link, cast("JobEvents", NothingEnded()))
    followed.add([SlurmUpdate(UpdateKind.TAKE_OUT, "node1", "", jobs=frozenset({8}))])
    followed.check()
    assert (slurm.started, bool(followed)) == ([7], False)


def test_a_requeued_job_is_followed_as_long_though_slurmctld_was_away_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It still left its other nodes when slurmctld came back, and would wait for cred_expire."""
    clock = [1000.0]
    monkeypatch.setattr(
        "workers.slurm.failed_jobs.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    slurm, link = AwayForLong("COMPLETING", "COMPLETING", "PENDING"), cast("Link", RecordingLink())
    followed = FailedJobs(cast("Slurm", slurm), link, cast("JobEvents", NothingEnded()))
    followed.add([SlurmUpdate(UpdateKind.TAKE_OUT, "node1", "", jobs=frozenset({7}))])
    clock[0] += 300.0
    with pytest.raises(SlurmAwayError):
        followed.check()
    slurm.is_away = False
    for _ in range(3):
        assert followed
        clock[0] += 1.0
        followed.check()
    assert (slurm.started, bool(followed)) == ([7], False)
    followed.add([SlurmUpdate(UpdateKind.TAKE_OUT, "node1", "", jobs=frozenset({8}))])
    seconds = 0
    while followed:
        clock[0] += 1.0
        seconds += 1
        followed.check()
    assert seconds == WAIT_SECONDS


def test_job_that_ran_on_a_lost_node_did_not_fail_to_start() -> None:
    update = SlurmUpdate(UpdateKind.TAKE_OUT, "node1", "", jobs=frozenset({7}), ran=True)
    requeued = Requeued(frozenset({7}), frozenset({"node1"}), 1.0, (), (update,))
    assert ended_jobs(requeued, {7: failed_job(7, "node1", 1, 2)}) == {}


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
