"""Each way in which a job ends leaves its UWS job in the right phase, whether the job itself reports it or not.

Real slurmctld, slurmd and RabbitMQ, the simulated cloud, and a server that answers as OPUS does. The jobs
report their phases to it, as those of OPUS do.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from schemas.envelope import parse
from schemas.jobs import JobTransition, job_event_from
from tests.testbed.cluster import Cluster, ClusterPlan
from tests.testbed.leaks import issued_pieces
from tests.testbed.opus import PATH, Opus, UwsJob
from tests.testbed.postgresql import PostgreSQL, grant_roles
from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from tests.testbed.slurm_api import fail_boot, run_out_of_memory
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until, until_none
from workers.audit.queries import Filter, find
from workers.store.database import connect, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_QUOTA, DIES, RUNS, LENT, ALSO_RUNS = (f"node{n}" for n in range(1, 6))
GROUPS = f"""
[groups.made]
nodes = "{NO_QUOTA}"
cloud = "simulated"
strategy = "delete"
cool_down = 0.5
[groups.made.server]
image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
flavor = "m1.tiny"
networks = ["none"]
[groups.kept]
nodes = "{DIES},{RUNS},{LENT},{ALSO_RUNS}"
cloud = "simulated"
"""
WEBHOOK = (
    '[[notify.webhook]]\nname = "opus"\nurl = "{0}"\nformat = "opus"\nevents = ["job.waiting"]\n'
)
# Jobs of partition `urgent` take the node of others.
PREEMPT = (
    "PreemptType=preempt/partition_prio",
    "PreemptMode=CANCEL",
    f"PartitionName=urgent Nodes={LENT} PriorityTier=10 PreemptMode=OFF",
    "KillWait=1",
    "SlurmdTimeout=10",
)
REPORT = """import sys, urllib.parse, urllib.request
form = {"jobid": sys.argv[1], "phase": sys.argv[2]}
urllib.request.urlopen(URL, urllib.parse.urlencode(form).encode())
"""


class Place:
    """A cluster whose jobs are submitted by OPUS."""

    def __init__(self, cluster: Cluster, opus: Opus, jobdata: Path) -> None:
        self.cluster, self.opus, self.jobdata = cluster, opus, jobdata
        self._report = jobdata / "report.py"
        jobdata.mkdir()
        self._report.write_text(REPORT.replace("URL", repr(opus.url + PATH)))

    def run(
        self, uws_id: str, node: str, work: str, *more: str, partition: str = "cloud"
    ) -> UwsJob:
        """Submit a job as OPUS does: a script with an absolute path, and no requeue.

        `work` are shell commands; `report PHASE` in them is OPUS's curl.
        """
        script = self.jobdata / uws_id / "sbatch.sh"
        script.parent.mkdir()
        script.write_text(
            f"#!/bin/sh\n#SBATCH --job-name=any\n#SBATCH --output={script.parent}/stdout.log\n"
            "#SBATCH --no-requeue\n"
            f'report() {{ {sys.executable} {self._report} "$SLURM_JOB_ID" "$1"; }}\n{work}\n'
        )
        where = (f"--nodelist={node}", f"--partition={partition}", "--ntasks=1")
        slurm = self.cluster.slurm
        job_id = int(slurm.run("sbatch", "--parsable", *where, *more, str(script)).strip())
        return self.opus.add(uws_id, job_id)

    def state(self, job: UwsJob) -> str:
        """The job's state in Slurm."""
        return self.cluster.slurm.job_state(int(job.process_id))


class RolesCluster(Cluster):
    """A cluster whose workers have a database user each."""

    def __init__(self, folder: Path, plan: ClusterPlan, server: PostgreSQL) -> None:
        super().__init__(folder, plan)
        self._server = server

    def _store_urls(self) -> tuple[str, str]:
        urls = self._server.create_role_databases()
        grant_roles(urls)
        return urls


@pytest.fixture(scope="module")
def place(session_dir: Path) -> Iterator[Place]:
    """All workers; at the end, none has asked the database for more than its role may do."""
    jobdata = session_dir / "uwsdata"
    with Opus() as opus, PostgreSQL(session_dir / "ends-postgresql") as server:
        plan = ClusterPlan(
            SlurmSettings(
                nodes=5, suspend_time=900, suspend_timeout=5, resume_timeout=90, extra_conf=PREEMPT
            ),
            boot=0.5,
            groups=GROUPS,
            slurm_toml=f'uws_jobdata = "{jobdata}"',
            more=WEBHOOK.format(opus.url),
            absent=(NO_QUOTA,),
            snapshot_interval=1.0,
        )
        with RolesCluster(session_dir / "ends", plan, server) as running:
            yield Place(running, opus, jobdata)
            assert issued_pieces(running) == {}
        assert "permission denied" not in server.log


def transitions(cluster: Cluster, uws_id: str) -> list[JobTransition]:
    """What the audit knows of a UWS job's Slurm job."""
    engine = connect(cluster.settings.store.audit_url)
    try:
        with reading(engine) as connection:
            entries = find(connection, Filter(uws=uws_id))
    finally:
        engine.dispose()
    return [job_event_from(parse(e.body)).transition for e in entries if e.request_id is None]


def test_every_end_of_a_job_reaches_opus(place: Place) -> None:
    forever = "report EXECUTING; sleep 600"
    dies = place.run("0000d1", DIES, forever)
    cancelled = place.run("0000ca", DIES, forever)
    fails = place.run("0000fa", RUNS, "report EXECUTING; exit 3")
    mute = place.run("0000e1", RUNS, "report EXECUTING; exit 0")
    never_told = place.run("0000e2", RUNS, "exit 0")
    completes = place.run("0000c0", ALSO_RUNS, "report EXECUTING; report COMPLETED")
    too_long = place.run("0000a1", ALSO_RUNS, forever, "--time=1")
    preempted = place.run("0000b1", LENT, forever, "--exclusive")
    late = place.run("0000d0", ALSO_RUNS, forever, "--exclusive", "--time=1", "--deadline=now+65")
    never_runs = place.run("0000ab", RUNS, forever, "--begin=now+1hour")
    eats = place.run("0000e3", RUNS, forever)
    boots_not = place.run("0000b0", RUNS, forever)
    executing = (dies, cancelled, too_long, preempted, eats, boots_not)
    until(lambda: all(job.phase == "EXECUTING" for job in executing), 90, "the jobs to run")
    place.cluster.slurm.run("scancel", cancelled.process_id, never_runs.process_id)
    run_out_of_memory(place.cluster.slurm, int(eats.process_id))
    fail_boot(place.cluster.slurm, int(boots_not.process_id))
    place.run("0000f1", LENT, "sleep 1", "--exclusive", partition="urgent")
    until(lambda: cancelled.phase == never_runs.phase == "ABORTED", 60, "the cancelled jobs")
    place.cluster.slurm.halt(DIES)
    expected = [
        (dies, "NODE_FAIL", "ERROR"),
        (cancelled, "CANCELLED", "ABORTED"),
        (never_runs, "CANCELLED", "ABORTED"),
        (fails, "FAILED", "ERROR"),
        (mute, "COMPLETED", "COMPLETED"),
        (never_told, "COMPLETED", "COMPLETED"),
        (completes, "COMPLETED", "COMPLETED"),
        (too_long, "TIMEOUT", "ERROR"),
        (preempted, "PREEMPTED", "ERROR"),
        (late, "DEADLINE", "ERROR"),
        (eats, "OUT_OF_MEMORY", "ERROR"),
        (boots_not, "BOOT_FAIL", "ERROR"),
    ]
    until_none(
        lambda: [
            (job.jobid, place.state(job), job.phase)
            for job, *end in expected
            if [place.state(job), job.phase] != end
        ],
        200,
        "jobs that OPUS or Slurm sees otherwise",
    )
    assert dies.error == f"NODE_FAIL: a node of this job failed ({DIES})"
    assert fails.error.startswith("FAILED: the job ended with an error")
    assert too_long.error.startswith("TIMEOUT: the job reached its time limit")
    assert preempted.error.startswith("PREEMPTED: another job took its nodes")
    assert late.error == "DEADLINE: the job could not end before its deadline"
    assert "explicitly cancelled" in never_runs.error
    assert eats.error.startswith("OUT_OF_MEMORY: the job used more memory than it had requested")
    assert boots_not.error.startswith("BOOT_FAIL: a node of this job did not boot")
    assert completes.error == mute.error == ""
    until(
        lambda: (
            transitions(place.cluster, never_runs.jobid)
            == [JobTransition.IDENTIFIED, JobTransition.FINISHED]
        ),
        20,
        "the audit of the job that never ran",
    )


def test_a_job_that_waits_for_a_node_in_cool_down_is_suspended(place: Place) -> None:
    """It is QUEUED until OPUS gets it; in the cloud's own words, also in French, the job before failed."""
    place.cluster.simulated.inject(
        Fault(effect=Answer(status=403, message="Quota dépassé: 10 sur 10"), kind="create", times=1)
    )
    first = place.run("0000d2", NO_QUOTA, "exit 0")
    until(lambda: first.phase == "ERROR", 60, "the failed boot")
    assert "(quota: Quota dépassé: 10 sur 10; " in first.error
    waits = place.run("0000d3", NO_QUOTA, "exit 0")
    until(lambda: waits.phase == "SUSPENDED", 60, "the job that waits")
    assert waits.error == ""
    until(lambda: JobTransition.WAITING in transitions(place.cluster, waits.jobid), 20, "the audit")
    place.cluster.slurm.run("scancel", waits.process_id)
    until(lambda: waits.phase == "ABORTED", 30, "its end")
    until(lambda: JobTransition.FINISHED in transitions(place.cluster, first.jobid), 30, "its end")
    assert first.error.count("NODE_FAIL") == 1
