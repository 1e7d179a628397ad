"""P9 on real slurmctld: an orphan goes out, a dead node comes back, a node on hold is left alone."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from schemas.events import Happening
from tests.testbed.cluster import PROGRAMS, Cluster, Plan
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.slurm_conf import Settings
from tests.testbed.waiting import until
from workers.audit.queries import Entry, Filter, find
from workers.store.engine import connect, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEAD, ORPHAN, HELD = "node1", "node2", "node3"
JOB = "#!/bin/sh\nhostname\n"


@pytest.fixture
def cluster(run_dir: Path) -> Iterator[Cluster]:
    plan = Plan(
        Settings(nodes=3, suspend_time=600, suspend_timeout=5, resume_timeout=120),
        boot=1.0,
        snapshot_interval=3.0,
        grace=2.0,
    )
    with Cluster(run_dir, plan) as running:
        yield running


def run(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / "lamplighter", "--config", cluster.settings.path, *arguments],
        env=dict(MINIMAL_ENVIRONMENT),
        capture_output=True,
        text=True,
        check=False,
    )


def drifts(cluster: Cluster) -> dict[str, Any]:
    """What `lamplighter drift` shows, by node."""
    said = json.loads(run(cluster, "drift", "--json").stdout)
    return {one["subject"]: one for one in said["drifts"]}


def asked(cluster: Cluster, node: str) -> list[Entry]:
    """What was asked of a node."""
    engine = connect(cluster.settings.store.audit_url)
    try:
        with reading(engine) as connection:
            accepted = (str(Happening.ACCEPTED),)
            return list(find(connection, Filter(nodes=(node,), happenings=accepted)))
    finally:
        engine.dispose()


def status(cluster: Cluster, node: str) -> str:
    return cluster.simulated.servers()[node].status


def is_lit(cluster: Cluster, node: str) -> bool:
    state = cluster.slurm.node_state(node)
    return "IDLE" in state and not state & {"POWERED_DOWN", "POWERING_UP", "POWER_UP"}


def test_what_runs_becomes_what_slurm_wants(cluster: Cluster) -> None:
    slurm, cloud = cluster.slurm, cluster.simulated
    slurm.scontrol("update", f"NodeName={DEAD}", "State=POWER_UP")
    until(lambda: is_lit(cluster, DEAD), 60, "a lit node")

    held = run(cluster, "hold", HELD, "--reason", "its disk is odd")
    assert held.returncode == 0, held.stderr
    # servers that somebody starts, and whose slurmd never comes: Slurm holds them to be out
    cloud.set_hook(None)
    cloud.set_power(ORPHAN, on=True)
    cloud.set_power(HELD, on=True)
    until(lambda: status(cluster, ORPHAN) == "SHUTOFF", 60, "the orphan to be put out")
    cloud.set_hook(cluster.hook)
    # a node dies: its slurmd with it
    cloud.set_power(DEAD, on=False)
    until(lambda: DEAD not in slurm.booted(), 20, "the node to be dead")
    until(lambda: DEAD in slurm.booted(), 60, "the node to be lit again")

    shown = until(lambda: drifts(cluster).get(HELD), 30, "the held node's drift")
    assert (shown["drift"], shown["step"], shown["cloud"]) == ("orphan", "held", "ACTIVE")
    assert asked(cluster, HELD) == []
    assert "its disk is odd" in run(cluster, "nodes", "show", HELD).stdout
    assert "its disk is odd" in run(cluster, "status").stdout
    assert run(cluster, "release", HELD).returncode == 0
    until(lambda: status(cluster, HELD) == "SHUTOFF", 60, "the released node to be put out")

    for node, words in ((ORPHAN, "orphan"), (DEAD, "dead"), (HELD, "orphan")):
        assert f"resync: {words}" in asked(cluster, node)[-1].body.decode()
    job_id = slurm.sbatch(JOB, nodelist=DEAD)
    until(lambda: slurm.job_state(job_id) == "COMPLETED", 90, "a job on the node that was dead")
    until(lambda: not drifts(cluster), 30, "no drift")
    assert run(cluster, "drift").stdout.endswith("no drift\n")
