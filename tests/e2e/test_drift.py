"""P2 and P9 with a real slurmctld: drifts are repaired, and no running job is ended by Lamplighter.

All tests share one cluster. The last one checks its final state: `test_at_the_end_...`.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from schemas.events import Transition
from tests.testbed.checker import Run, broken_promises
from tests.testbed.cluster import PROGRAMS, Cluster, ClusterPlan
from tests.testbed.leaks import issued_pieces
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until, until_none
from workers.audit.queries import Entry, Filter, find
from workers.store.database import connect, reading
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEAD, ORPHAN, HELD, FORCED = "node1", "node2", "node3", "node4"
# For Slurm, a node is powered down this long after the call of SuspendProgram; the stop takes longer.
SUSPEND_TIMEOUT, STOP = 2, 8.0


@pytest.fixture(scope="module")
def cluster(session_dir: Path) -> Iterator[Cluster]:
    plan = ClusterPlan(
        SlurmSettings(
            nodes=4, suspend_time=600, suspend_timeout=SUSPEND_TIMEOUT, resume_timeout=120
        ),
        boot=1.0,
        snapshot_interval=3.0,
        grace=2.0,
    )
    with Cluster(session_dir / "drift", plan) as running:
        yield running
        assert issued_pieces(running) == {}


def run(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / "lamplighter", "--config", cluster.settings.path, *arguments],
        env=dict(MINIMAL_ENVIRONMENT),
        capture_output=True,
        text=True,
        check=False,
    )


def drifts(cluster: Cluster) -> dict[str, Any]:
    """The output of `lamplighter drift`, by node."""
    result = json.loads(run(cluster, "drift", "--json").stdout)
    return {one["subject"]: one for one in result["drifts"]}


def requests(cluster: Cluster, node: str) -> list[Entry]:
    """The accepted requests for a node."""
    engine = connect(cluster.settings.store.audit_url)
    try:
        with reading(engine) as connection:
            accepted = (str(Transition.ACCEPTED),)
            return list(find(connection, Filter(nodes=(node,), transitions=accepted)))
    finally:
        engine.dispose()


def status(cluster: Cluster, node: str) -> str:
    return cluster.simulated.servers()[node].status


def is_powered_on(cluster: Cluster, node: str) -> bool:
    state = cluster.slurm.node_state(node)
    return "IDLE" in state and not state & {"POWERED_DOWN", "POWERING_UP", "POWER_UP"}


def test_drifts_are_repaired(cluster: Cluster) -> None:
    slurm, cloud = cluster.slurm, cluster.simulated
    slurm.scontrol("update", f"NodeName={DEAD}", "State=POWER_UP")
    until(lambda: is_powered_on(cluster, DEAD), 60, "a node that is powered on")

    held = run(cluster, "hold", HELD, "--reason", "its disk is odd")
    assert held.returncode == 0, held.stderr
    # servers that were started by hand, without slurmd: for Slurm, their nodes are powered down
    cloud.set_hook(None)
    cloud.set_power(ORPHAN, on=True)
    cloud.set_power(HELD, on=True)
    until(lambda: status(cluster, ORPHAN) == "SHUTOFF", 60, "the orphan to be powered off")
    cloud.set_hook(cluster.hook)
    # a node fails, and its slurmd with it
    cloud.set_power(DEAD, on=False)
    until(lambda: DEAD not in slurm.booted(), 20, "the node to be dead")
    until(lambda: DEAD in slurm.booted(), 60, "the node to be powered on again")

    shown = until(lambda: drifts(cluster).get(HELD), 30, "the held node's drift")
    assert (shown["drift"], shown["step"], shown["cloud"]) == ("orphan", "held", "ACTIVE")
    assert requests(cluster, HELD) == []
    assert "its disk is odd" in run(cluster, "nodes", "show", HELD).stdout
    assert "its disk is odd" in run(cluster, "status").stdout
    assert run(cluster, "release", HELD).returncode == 0
    until(lambda: status(cluster, HELD) == "SHUTOFF", 60, "the released node to be powered off")

    for node, words in ((ORPHAN, "orphan"), (DEAD, "dead"), (HELD, "orphan")):
        assert f"resync: {words}" in requests(cluster, node)[-1].body.decode()
    assert runs_on(cluster, DEAD)
    assert "snapshot of 4 nodes" in run(cluster, "snapshot").stdout
    until(lambda: not drifts(cluster), 30, "no drift")
    assert run(cluster, "drift").stdout.endswith("no drift\n")


def runs_on(cluster: Cluster, *nodes: str) -> bool:
    """Run a short job on all of these nodes at once; srun waits for nodes to boot."""
    words = ("-w", ",".join(nodes), "-N", str(len(nodes)), "printenv", "SLURMD_NODENAME")
    return sorted(cluster.slurm.run("srun", *words).split()) == sorted(nodes)


def test_resume_during_a_stop_ends_powered_on(cluster: Cluster) -> None:
    """SuspendTimeout is shorter than the stop: Slurm resumes a node that is still powering off."""
    slurm, cloud = cluster.slurm, cluster.simulated
    cloud.set(stop_seconds=STOP)
    stops = cloud.counts().get("stop", 0)
    slurm.scontrol("update", f"NodeName={DEAD}", "State=POWER_DOWN")
    until(lambda: cloud.counts().get("stop", 0) > stops, 30, "the stop call")
    slurm.scontrol("update", f"NodeName={DEAD}", "State=RESUME")
    assert runs_on(cluster, DEAD)
    assert status(cluster, DEAD) == "ACTIVE"
    cloud.set(stop_seconds=1.0)


def test_node_that_is_forced_down_while_it_boots_ends_powered_off(cluster: Cluster) -> None:
    """Its server is briefly ACTIVE before it can be stopped; slurmd does not start that fast."""
    slurm, cloud = cluster.slurm, cluster.simulated
    cloud.set(boot_seconds=3.0)
    cloud.set_hook(None)
    starts = cloud.counts().get("start", 0)
    slurm.scontrol("update", f"NodeName={FORCED}", "State=POWER_UP")
    until(lambda: cloud.counts().get("start", 0) > starts, 30, "the start call")
    slurm.scontrol("update", f"NodeName={FORCED}", "State=POWER_DOWN_FORCE", "Reason=test")
    until(
        lambda: "POWERED_DOWN" in slurm.node_state(FORCED),
        60,
        "the node to be powered down for Slurm",
    )
    until(lambda: status(cluster, FORCED) == "SHUTOFF", 30, "its server to be stopped")
    cloud.set(boot_seconds=1.0)
    cloud.set_hook(cluster.hook)


def test_slurmctld_killed_just_after_its_call_boots_the_node_once(cluster: Cluster) -> None:
    """It saves its state late and may repeat the call: there is one start, and one job."""
    slurm, cloud = cluster.slurm, cluster.simulated
    starts = cloud.counts().get("start", 0)
    job_id = slurm.sbatch("#!/bin/sh\nhostname\n", nodelist=FORCED)
    until(lambda: cloud.counts().get("start", 0) > starts, 60, "the start call")
    slurm.kill9_ctld()
    slurm.start_ctld()
    until(lambda: slurm.job_state(job_id) == "COMPLETED", 120, "the job's end")
    assert cloud.counts()["start"] == starts + 1


def test_repeated_reconfigure_ends_no_job(cluster: Cluster) -> None:
    """Since 23.11 each one restarts slurmctld, which calls no hook meanwhile: so their number is limited."""
    slurm = cluster.slurm
    with ThreadPoolExecutor(1) as jobs:
        running = jobs.submit(runs_on, cluster, *slurm.settings.node_names)
        # a request that meets a reconfigure can lose its connection: srun gives up before there is a job
        until(lambda: slurm.run("squeue", "--noheader") or running.done(), 30, "the job")
        for _ in range(20):
            slurm.scontrol("reconfigure")
            wait([running], timeout=0.5)
        assert running.result()


def test_at_the_end_only_wanted_servers_run_and_each_request_has_ended_once(
    cluster: Cluster,
) -> None:
    slurm = cluster.slurm
    until(lambda: not drifts(cluster), 60, "no drift")
    powered_on = {
        node for node, state in slurm.node_states().items() if "POWERED_DOWN" not in state
    }
    servers = cluster.simulated.servers().values()
    assert powered_on == {server.name for server in servers if server.status == "ACTIVE"}
    until_none(lambda: broken(cluster), 30, "broken promises")


def broken(cluster: Cluster) -> list[str]:
    """Broken promises about requests, by the audit log."""
    engine = connect(cluster.settings.store.audit_url)
    try:
        with reading(engine) as connection:
            rows = connection.execute(sa.select(audit).order_by(audit.c.seq)).mappings()
            records = [dict(row) for row in rows]
    finally:
        engine.dispose()
    accepted = {r["request_id"] for r in records if r["transition"] == Transition.ACCEPTED}
    return broken_promises(Run(records, [r["body"] for r in records], len(accepted), {}))
