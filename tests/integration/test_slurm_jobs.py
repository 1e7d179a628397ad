"""What the slurm worker tells of jobs on a real slurmctld; the power worker's part is played by the test."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause, Transition
from schemas.jobs import JobEvent, JobTransition, job_event_from
from tests.integration.test_slurm_worker import QUOTA, Bench, ended
from tests.testbed.installation import Installation
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.broker import topology
from workers.slurm.causes import reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

NODES = 9
NO_REQUEUE = "--no-requeue"


@pytest.fixture(scope="module")
def jobdata(session_dir: Path) -> Path:
    """OPUS's SLURM_JOBDATA_PATH."""
    return session_dir / "uws"


@pytest.fixture(scope="module")
def bench(session_dir: Path, broker: Broker, jobdata: Path) -> Iterator[Bench]:
    vhost = broker.create_vhost()
    settings = SlurmSettings(nodes=NODES, suspend_time=600, suspend_timeout=5, resume_timeout=300)
    with PrivateSlurm(session_dir / "jobs", replace(settings, cred_expire=120)) as slurm:
        site = Installation(slurm.conf_dir, broker.amqp_url(vhost))
        site.config.write_text(
            site.config.read_text()
            + f'[slurm]\ngive_back_after = 1\nuws_jobdata = "{jobdata}"\n'
            + '[clouds.c]\nauth_url = "http://127.0.0.1:1/v3"\nproject_id = "p"\n'
            'source = { type = "password", username = "u", password_command = ["true"] }\n'
            '[groups.dry]\nnodes = "node9"\ncloud = "c"\ndry_run = true\n'
        )
        site.prepare()
        yield Bench(slurm, site)
    broker.delete_vhost(vhost)


def submit(bench: Bench, script: Path, node: str, *more: str) -> int:
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("#!/bin/sh\nsleep 60\n")
    words = ("--parsable", "--output=/dev/null", f"--nodelist={node}", *more)
    job_id = int(bench.slurm.run("sbatch", *words, str(script)).strip())
    until(lambda: bench.slurm.job_state(job_id) == "CONFIGURING", 30, "the job to have its node")
    return job_id


def told(bench: Bench) -> list[JobEvent]:
    """What the slurm worker has told of jobs since the last look."""
    events = []
    for _, body in bench.site.drain(topology.AUDIT_QUEUE):
        try:
            events.append(job_event_from(parse(body)))
        except MalformedMessageError:
            continue
    return events


def test_a_job_is_told_of_when_slurm_confirms_its_end_and_not_when_it_is_requeued(
    bench: Bench, jobdata: Path
) -> None:
    """A path may be made to look like another job's: it is nobody's, and no line of its own."""
    hostile = jobdata / "f755f0" / "x\n1|NODE_FAIL|node2" / "sbatch.sh"
    jobs = {
        "node1": submit(bench, jobdata / "f755f0" / "sbatch.sh", "node1", NO_REQUEUE),
        "node2": submit(bench, jobdata / "c0ffee" / "sbatch.sh", "node2"),
        "node3": submit(bench, hostile, "node3", NO_REQUEUE),
    }
    asked = [bench.wakes(node, jobs=(job_id,))[0] for node, job_id in jobs.items()]
    with bench.worker():
        bench.tell(*(ended(command, Transition.FAILED, QUOTA) for command in asked))
        until(lambda: bench.site.depth(topology.AUDIT_QUEUE) >= 7, 30, "all to be told")
        until(lambda: "jobs_let_go" in bench.site.logs(), 20, "the requeued one to be let go")
        bench.heard()
    events = {(e.transition, e.job_id): e for e in told(bench)}
    assert {key: e.uws_id for key, e in events.items()} == {
        (JobTransition.IDENTIFIED, jobs["node1"]): "f755f0",
        (JobTransition.IDENTIFIED, jobs["node2"]): "c0ffee",
        (JobTransition.FAILED, jobs["node1"]): "f755f0",
        (JobTransition.FAILED, jobs["node3"]): None,
    }
    failed = events[JobTransition.FAILED, jobs["node1"]]
    assert (failed.state, failed.nodes, failed.cause) == ("NODE_FAIL", ("node1",), QUOTA)
    bench.slurm.run("scancel", str(jobs["node2"]))


def test_a_node_that_never_registers_fails_its_job_though_its_hook_names_none(
    bench: Bench, jobdata: Path
) -> None:
    """Slurm's own ResumeTimeout: ResumeFailProgram is told of the node alone."""
    slurm = bench.slurm
    job_id = submit(bench, jobdata / "abcdef" / "sbatch.sh", "node4", NO_REQUEUE)
    bench.wakes("node4", jobs=(job_id,))
    slurm.scontrol("update", "NodeName=node4", "State=DOWN", "Reason=ResumeTimeout reached")
    slurm.scontrol("update", "NodeName=node4", "State=POWER_DOWN")
    (given_up,) = bench.accept(Kind.RESUME_FAIL, "node4")
    with bench.worker():
        bench.tell(ended(given_up, Transition.COMPLETED))
        event = until(lambda: failure_of(bench, job_id), 20, "the job to be told of")
        bench.heard()
    assert (event.job_id, event.uws_id, event.state) == (job_id, "abcdef", "NODE_FAIL")
    assert event.cause is not None
    assert event.cause.error == "resume_timeout"


def test_a_job_whose_node_is_given_back_is_told_of_though_the_worker_dies(
    bench: Bench, jobdata: Path
) -> None:
    """Between telling Slurm and telling of the job, there is no delivery that would come again."""
    job_id = submit(bench, jobdata / "0a1b2c" / "sbatch.sh", "node5", NO_REQUEUE)
    (asked,) = bench.wakes("node5", jobs=(job_id,))
    with bench.site.start("worker", "slurm") as worker:
        bench.tell(ended(asked, Transition.PARKED, Cause("network", "no route")))
        until(lambda: bench.slurm.job_state(job_id) == "NODE_FAIL", 20, "it", interval=0.005)
        worker.kill()
    with bench.worker():
        until(lambda: failure_of(bench, job_id), 30, "the job to be told of")


def failure_of(bench: Bench, job_id: int) -> JobEvent | None:
    """What has been told of that job's end since the last look."""
    events = (e for e in told(bench) if e.transition is JobTransition.FAILED)
    return next((e for e in events if e.job_id == job_id), None)


def said(bench: Bench, name: str) -> bool:
    """Whether the audit is told of what Slurm would have heard: out of service, and why."""
    bodies = [body for _, body in bench.site.drain(topology.AUDIT_QUEUE)]
    notices = [body for body in bodies if f"lamplighter.{name}.v1".encode() in body]
    return any(b"take_out: lamplighter: quota" in body for body in notices)


def test_in_a_dry_run_slurm_is_told_nothing(bench: Bench) -> None:
    (asked,) = bench.wakes("node9")
    away = Cause("network", "no route")
    with bench.worker():
        bench.tell(
            ended(asked, Transition.PARKED, away),
            ended(asked, Transition.FAILED, QUOTA),
        )
        bench.heard()
        until(lambda: said(bench, "group.dry_run"), 20, "it to say so")
    assert bench.slurm.node_reason("node9") != reason(QUOTA)
    assert bench.has("node9", "POWERING_UP")
    assert not bench.has("node9", "DOWN")
