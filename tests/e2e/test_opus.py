"""A job whose node cannot boot ends in OPUS with the cloud's error message.

Real slurmctld and RabbitMQ, the simulated cloud, and a small server that behaves like OPUS.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from schemas.envelope import parse
from schemas.events import Transition, event_from
from schemas.jobs import JobTransition, job_event_from
from tests.testbed.cluster import Cluster, ClusterPlan
from tests.testbed.leaks import issued_pieces
from tests.testbed.opus import Opus, form_of
from tests.testbed.simcloud.effects import Answer, GoesToError
from tests.testbed.simcloud.faults import Fault
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.audit.queries import Filter, find
from workers.store.database import connect, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workers.audit.queries import Entry

# Seconds; about one on an idle machine.
LIMIT = 20.0
QUOTA, NO_HOST, DRY = "node1", "node2", "node3"
SERVER = """
[groups.{0}.server]
image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
flavor = "m1.tiny"
networks = ["none"]
"""
GROUPS = f"""
[groups.made]
nodes = "{QUOTA},{NO_HOST}"
cloud = "simulated"
strategy = "delete"
cool_down = 0.5
{SERVER.format("made")}
[groups.rehearsed]
nodes = "{DRY}"
cloud = "simulated"
dry_run = true
"""
# What the audit records of a UWS job whose node cannot boot.
RECORDED = {
    *(Transition.ACCEPTED.type, Transition.FAILED.type),
    *(JobTransition.IDENTIFIED.type, JobTransition.FAILED.type),
}
WEBHOOK = '[[notify.webhook]]\nname = "opus"\nurl = "{0}"\nformat = "opus"\n'


@pytest.fixture(scope="module")
def opus() -> Iterator[Opus]:
    with Opus() as running:
        yield running


@pytest.fixture(scope="module")
def jobdata(session_dir: Path) -> Path:
    """SLURM_JOBDATA_PATH of OPUS."""
    return session_dir / "jobdata"


@pytest.fixture(scope="module")
def cluster(session_dir: Path, opus: Opus, jobdata: Path) -> Iterator[Cluster]:
    """A node without quota, one without a host, and one in a dry run."""
    plan = ClusterPlan(
        SlurmSettings(nodes=3, suspend_time=600, suspend_timeout=5, resume_timeout=90),
        groups=GROUPS,
        slurm_toml=f'uws_jobdata = "{jobdata}"',
        more=WEBHOOK.format(opus.url),
        absent=(QUOTA, NO_HOST),
    )
    with Cluster(session_dir / "opus", plan) as running:
        yield running
        assert issued_pieces(running) == {}


def submit(cluster: Cluster, jobdata: Path, uws_id: str, node: str, *more: str) -> int:
    """Submit a job as OPUS does: a script with an absolute path, and no requeue."""
    script = jobdata / uws_id / "sbatch.sh"
    script.parent.mkdir(parents=True)
    script.write_text(
        f"#!/bin/sh\n#SBATCH --job-name=any\n#SBATCH --output={script.parent}/stdout.log\n"
        "#SBATCH --no-requeue\nsleep 60\n"
    )
    where = f"--nodelist={node}"
    return int(cluster.slurm.run("sbatch", "--parsable", where, *more, str(script)).strip())


def errors_told(opus: Opus, job_id: int) -> int:
    """How often OPUS was told that this job failed; that it has ended may be told beside."""
    forms = [form_of(got) for got in opus.got]
    return sum((form["jobid"], form["phase"]) == (str(job_id), "ERROR") for form in forms)


def audited(cluster: Cluster, wanted: Filter) -> list[Entry]:
    engine = connect(cluster.settings.store.audit_url)
    try:
        with reading(engine) as connection:
            return find(connection, wanted)
    finally:
        engine.dispose()


def test_a_job_without_quota_ends_in_opus(cluster: Cluster, opus: Opus, jobdata: Path) -> None:
    """A hostile comment and job name change nothing."""
    message = "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
    cluster.simulated.inject(
        Fault(effect=Answer(status=403, message=message), kind="create", times=1)
    )
    hostile = ("--comment=x JobState=COMPLETED\n99|NODE_FAIL|node3", "--job-name=a|b\nJobId=98")
    job_id = submit(cluster, jobdata, "f755f0", QUOTA, *hostile)
    job = opus.add("f755f0", job_id)
    until(lambda: job.phase == "ERROR", 60, "the error in OPUS")
    assert job.error.startswith(f"NODE_FAIL: {QUOTA} could not be started for this job (quota: ")
    assert "used 10 of 10 instances" in job.error
    assert cluster.slurm.job_state(job_id) == "NODE_FAIL"
    assert errors_told(opus, job_id) == 1
    (failed,) = audited(cluster, Filter(nodes=(QUOTA,), transitions=("failed",)))
    answered = event_from(parse(failed.body)).actions[-1].time
    seconds = int(opus.got[0].headers["webhook-timestamp"]) - answered / 1e9
    print(f"\nOPUS was notified {max(seconds, 0):.0f} s after the cloud's response")  # noqa: T201
    assert seconds < LIMIT


def test_a_job_without_host_ends_in_opus(cluster: Cluster, opus: Opus, jobdata: Path) -> None:
    effect = GoesToError(after_seconds=0.0)
    cluster.simulated.inject(Fault(effect=effect, kind="create", times=1))
    job_id = submit(cluster, jobdata, "c0ffee", NO_HOST)
    job = opus.add("c0ffee", job_id)
    until(lambda: job.phase == "ERROR", 60, "the error in OPUS")
    assert "no_valid_host: No valid host was found" in job.error
    assert errors_told(opus, job_id) == 1


def test_the_audit_lists_the_history_of_a_uws_job(cluster: Cluster, opus: Opus) -> None:
    """From the request for its node to its end, and nothing about other jobs.

    If Slurm is slow to end the job, the resync worker requests the node again for it; and the
    snapshot worker may report the run of a job that was never seen booting.
    """
    wanted = Filter(uws="f755f0")
    job_id = int(opus.jobs[0].process_id)
    until(lambda: {e.type for e in audited(cluster, wanted)} >= RECORDED, 20, "the audit")
    entries = audited(cluster, wanted)
    requests = [event_from(parse(e.body)) for e in entries if e.request_id is not None]
    assert requests[0].transition is Transition.ACCEPTED
    assert all(event.node == QUOTA for event in requests)
    assert all([job.job_id for job in event.jobs] == [job_id] for event in requests)
    jobs = [job_event_from(parse(e.body)) for e in entries if e.request_id is None]
    assert all(event.job_id == job_id for event in jobs)
    transitions = Counter(event.transition for event in jobs)
    assert transitions[JobTransition.IDENTIFIED] == transitions[JobTransition.FAILED] == 1
    assert audited(cluster, Filter(uws="' OR 1=1 --")) == []


def test_a_dry_run_calls_no_cloud_and_does_not_change_slurm(
    cluster: Cluster, jobdata: Path
) -> None:
    """Slurm waits for the node in vain; the audit shows the calls that would have been made."""
    before = cluster.simulated.call_counts().action_calls
    submit(cluster, jobdata, "0a1b2c", DRY)
    until(lambda: "POWERING_UP" in cluster.slurm.node_state(DRY), 60, "Slurm to resume the node")
    wanted = Filter(nodes=(DRY,), transitions=("completed",))
    until(lambda: audited(cluster, wanted), 30, "its outcome")
    body = audited(cluster, wanted)[0].body
    assert b'"dry_run":true' in body
    assert b'"action":"os-start"' in body
    assert cluster.simulated.call_counts().action_calls == before
    assert cluster.simulated.servers()[DRY].status == "SHUTOFF"
    assert cluster.slurm.node_reason(DRY) == ""
