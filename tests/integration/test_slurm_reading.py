"""What a real slurmctld says is read as it is: hostile reasons, odd node names, jobs that never ran."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from schemas.commands import Kind
from schemas.events import Transition
from schemas.jobs import JobEvent, JobTransition
from schemas.snapshot import Power, SlurmNode
from tests.integration.test_slurm_jobs import job_events
from tests.integration.test_slurm_worker import QUOTA, Bench, ended
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.broker import topology
from workers.slurm.nodes import UNREADABLE
from workers.slurm.run_reporter import report_changes
from workers.slurm.scontrol import Slurm
from workers.store.database import open_store
from workers.store.requests import Round, open_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

# Slurm 22.05 does not read gpu[1-2].cluster.internal, nor r[1-2]c[1-2]n1.
ODD = ("gpu1.cluster.internal", "gpu2.cluster.internal", "r1c1n1", "r1c2n1", "r2c1n1", "r2c2n1")
SLEEP = "#!/bin/sh\nsleep 300\n"


@pytest.fixture(scope="module")
def bench(session_dir: Path, broker: Broker) -> Iterator[Bench]:
    vhost = broker.create_vhost()
    odd = [
        f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=CLOUD"
        for name in ODD
    ]
    more = (
        *odd,
        f"PartitionName=odd Nodes={','.join(ODD)} SuspendTimeout=7",
        "SuspendExcNodes=node6",
    )
    settings = SlurmSettings(nodes=6, suspend_time=600, resume_timeout=300, extra_conf=more)
    with PrivateSlurm(session_dir / "reading", replace(settings, cred_expire=120)) as slurm:
        site = Installation(slurm.conf_dir, broker.amqp_url(vhost))
        site.config.write_text(
            site.config.read_text()
            + '[slurm]\nresume_timeout = 600\nsuspend_timeout = 5\nuws_jobdata = "/uws"\n'
            + '[clouds.c]\nauth_url = "http://127.0.0.1:1/v3"\nproject_id = "p"\n'
            'source = { type = "password", username = "u", password_command = ["true"] }\n'
            f'[groups.g]\nnodes = "node[1-4],{",".join(ODD)},ghost"\ncloud = "c"\n'
        )
        site.prepare()
        site.settings.hook.state.mkdir()
        yield Bench(slurm, site)
    broker.delete_vhost(vhost)


def reported(bench: Bench) -> list[JobEvent]:
    """The job events of one observation."""
    report_changes(bench.site.settings, Slurm(bench.site.settings))
    return job_events(bench)


@pytest.mark.parametrize(
    "reason",
    [
        "disk is odd\r\nticket 4711",
        "Not responding\nticket 4711",
        "Not responding\x0b",
        "Not responding\x1c",
        "Not responding\u0085",
        "Not responding\u2028ticket",
        "Not responding [slurm@1] Comment=x",
        "lamplighter: quota: none\nbut I do not believe it",
    ],
)
def test_reason_of_a_person_is_never_taken_for_slurms_or_ours(bench: Bench, reason: str) -> None:
    slurm = Slurm(bench.site.settings)
    bench.slurm.scontrol("update", "NodeName=node5", "State=DOWN", f"Reason={reason}")
    node = slurm.nodes()["node5"]
    assert node.reason in {reason, UNREADABLE}
    power = SlurmNode("node5", "DOWN+CLOUD", node.reason).power
    bench.slurm.scontrol("update", "NodeName=node5", "State=RESUME")
    assert power is Power.SET_DOWN


def test_comment_is_not_the_reason_and_does_not_hide_it(bench: Bench) -> None:
    slurm, scontrol = Slurm(bench.site.settings), bench.slurm.scontrol
    comment = "rack 2 Reason=old [x@y]\n   Reason=older [x@1]"
    scontrol("update", "NodeName=node5", f"Comment={comment}")
    # 24.11 prints the comment's second line as it prints a reason: such a one counts as a person's
    assert slurm.nodes(["node5"])["node5"].reason in {"", UNREADABLE}
    scontrol("update", "NodeName=node5", "Comment=rack 2", "State=DOWN", "Reason=Not responding")
    assert slurm.nodes(["node5"])["node5"].reason == "Not responding"
    scontrol("update", "NodeName=node5", "Comment=x\nNodeName=node4 State=DOWN")
    assert slurm.nodes()["node4"].base == ""
    scontrol("update", "NodeName=node5", "Comment=", "State=RESUME")
    assert slurm.nodes()["node4"].base == "IDLE"


def test_jobs_of_nodes_with_odd_names_are_told_that_they_failed(bench: Bench) -> None:
    """After Slurm's ResumeTimeout: ResumeFailProgram receives only the nodes."""
    slurm, names = bench.slurm, ODD[:4]
    jobs = [slurm.sbatch(SLEEP, partition="odd", nodelist=name, no_requeue=True) for name in names]
    until(lambda: all(slurm.job_state(job) == "CONFIGURING" for job in jobs), 40, "the nodes")
    bench.resume(*names, jobs=tuple(jobs))
    slurm.scontrol(
        "update", f"NodeName={','.join(names)}", "State=DOWN", "Reason=ResumeTimeout reached"
    )
    slurm.scontrol("update", f"NodeName={','.join(names)}", "State=POWER_DOWN")
    given_up = bench.accept(Kind.RESUME_FAIL, *names)
    told: set[int] = set()
    with bench.worker():
        bench.publish(*(ended(command, Transition.COMPLETED) for command in given_up))

        def all_told() -> bool:
            events = [e for e in job_events(bench) if e.transition is JobTransition.FAILED]
            told.update(event.job_id for event in events)
            return told >= set(jobs)

        until(all_told, 30, "job.failed of each job")
        bench.wait_acknowledged()
    # and none of them is told to have started, although no observation saw it wait
    assert [event for event in reported(bench) if event.job_id in jobs] == []


def test_nodes_with_odd_names_are_updated(bench: Bench) -> None:
    names = ODD[4:]
    requested = bench.resume(*names)
    with bench.worker():
        bench.publish(*(ended(command, Transition.FAILED, QUOTA) for command in requested))
        until(lambda: all(bench.has(n, "DOWN") for n in names), 20, "the nodes to be down")
        bench.wait_acknowledged()
        assert "slurm_refused" not in bench.site.logs()


def test_job_that_ran_is_not_told_to_have_failed_to_start(bench: Bench, tmp_path: Path) -> None:
    """It lost its node while it ran; a later boot of the node fails, within MinJobAge."""
    slurm = bench.slurm
    script = tmp_path / "uws" / "f755f0" / "sbatch.sh"
    script.parent.mkdir(parents=True)
    script.write_text(SLEEP)
    bench.resume("node1")
    slurm.boot("node1")
    until(lambda: not bench.has("node1", "POWERING_UP"), 20, "node1 to register")
    until(lambda: bench.has("node1", "IDLE"), 20, "node1 to be idle")
    ran = slurm.sbatch(SLEEP, nodelist="node1", no_requeue=True)
    until(lambda: slurm.job_state(ran) == "RUNNING", 60, "the job to run")
    (started,) = [event for event in reported(bench) if event.job_id == ran]
    assert (started.transition, started.nodes) == (JobTransition.STARTED, ("node1",))
    slurm.halt("node1")
    slurm.scontrol("update", "NodeName=node1", "State=DOWN", "Reason=Not responding")
    until(lambda: slurm.job_state(ran) == "NODE_FAIL", 30, "the end of the job")
    slurm.scontrol("update", "NodeName=node1", "State=POWER_DOWN_FORCE")
    until(lambda: bench.has("node1", "POWERED_DOWN"), 60, "node1 to power down", interval=0.3)
    if bench.has("node1", "DOWN"):
        slurm.scontrol("update", "NodeName=node1", "State=RESUME")
    waited = slurm.sbatch(SLEEP, nodelist="node1", no_requeue=True)
    until(lambda: slurm.job_state(waited) == "CONFIGURING", 40, "the next job")
    (asked,) = bench.resume("node1", jobs=(waited,))
    store = open_store(bench.site.settings.store.url, "state")
    with store.begin() as connection:
        one = Round(asked.id, 1, "node1", asked.generation, asked.generation)
        open_rounds(connection, CLUSTER, [one])
    store.dispose()
    slurm.scontrol("update", "NodeName=node1", "State=DOWN", "Reason=ResumeTimeout reached")
    slurm.scontrol("update", "NodeName=node1", "State=POWER_DOWN")
    (given_up,) = bench.accept(Kind.RESUME_FAIL, "node1")
    found: list[JobEvent] = []
    for _ in range(2):  # the second worker looks for what the first may have left
        with bench.worker():
            bench.publish(ended(given_up, Transition.COMPLETED))
            bench.wait_acknowledged()
            until(lambda: "job_failed" in bench.site.logs(), 20, "the event")
            found += [e for e in job_events(bench) if e.transition is JobTransition.FAILED]
    assert {event.job_id for event in found} & {ran, waited} == {waited}
    over = {e.job_id: e for e in reported(bench) if e.transition is JobTransition.ENDED}
    assert (over[ran].state, over.keys() & {waited}) == ("NODE_FAIL", set())


def test_job_to_which_a_signal_is_sent_still_has_its_node(bench: Bench) -> None:
    """Until its slurmd answers, squeue does not show it as RUNNING: that was reported as its end."""
    slurm = bench.slurm
    bench.resume("node2")
    slurm.boot("node2")
    until(lambda: bench.has("node2", "IDLE"), 20, "node2 to be idle")
    job = slurm.sbatch(SLEEP, nodelist="node2", no_requeue=True)
    until(lambda: slurm.job_state(job) == "RUNNING", 60, "the job to run")
    (started,) = [event for event in reported(bench) if event.job_id == job]
    assert started.transition is JobTransition.STARTED
    mine = {"node2", str(slurm.conf)}
    (slurmd,) = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "slurmd" and mine <= {*(process.info["cmdline"] or ())}
    ]
    slurmd.suspend()
    try:
        slurm.run("scancel", "--signal=STOP", str(job))
        until(lambda: slurm.job_state(job) == "SIGNALING", 20, "the signal")
        assert [event for event in reported(bench) if event.job_id == job] == []
        assert Slurm(bench.site.settings).running()[job].nodes == "node2"
        assert slurm.job_state(job) == "SIGNALING"
    finally:
        slurmd.resume()
    until(lambda: slurm.job_state(job) == "STOPPED", 20, "the signal's end")
    assert [event for event in reported(bench) if event.job_id == job] == []
    slurm.run("scancel", str(job))


def test_parts_of_jobs_have_numbers_of_their_own(bench: Bench) -> None:
    """Tasks of an array and components of a heterogeneous job are reported by these numbers."""
    slurm = bench.slurm
    array = slurm.sbatch(SLEEP, array="1-2", hold=True)
    numbers = {
        int(slurm.run("squeue", "--noheader", f"--jobs={array}_{task}", "--format=%A"))
        for task in (1, 2)
    }
    assert numbers == {array}  # one record, until a task gets nodes
    slurm.run("scancel", str(array))


def test_differences_of_the_two_files_are_said_before_a_job_dies_of_them(bench: Bench) -> None:
    site = bench.site
    with site.start("worker", "resync"):
        until(lambda: site.consumers(topology.SNAPSHOT_QUEUE), 20, "the resync worker")
        assert site.lamplighter("snapshot").code == 0
        site.wait_depth(topology.SNAPSHOT_QUEUE, 0, 20)
        until(lambda: "node5" in site.lamplighter("status").out, 20, "the snapshot in the store")
        for command in ("status", "drift"):
            out = site.lamplighter(command).out
            assert "slurm.conf has 1 node (node5) in no group" in out
            assert "add them to a group in lamplighter.toml, or to SuspendExcNodes" in out
            assert "[groups.g] has 1 node (ghost) that Slurm does not show" in out
            assert "ResumeTimeout is 300 s in slurm.conf, slurm.resume_timeout is 600 s" in out
            assert (
                "SuspendTimeout is 7 s in slurm.conf for partition odd, slurm.suspend_timeout is 5 s"
                in out
            )
