"""A suspend that is never executed, then a job: on real Slurm, the job runs although the server never stopped.

slurmctld waits for a boot, not for a server: it ignores a slurmd whose boot is older than its resume.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.testbed.cluster import Cluster, ClusterPlan
from tests.testbed.leaks import issued_pieces
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = "#!/bin/sh\nsleep 1\n"
IDLE_AND_OFF = {"IDLE", "CLOUD", "POWERED_DOWN"}


@pytest.fixture
def cluster(run_dir: Path) -> Iterator[Cluster]:
    """One node that is suspended soon, and snapshots every ten seconds."""
    slurm = SlurmSettings(nodes=1, suspend_time=8, suspend_timeout=6, resume_timeout=60)
    plan = ClusterPlan(slurm, snapshot_interval=10.0, grace=10.0)
    with Cluster(run_dir / "cluster", plan) as started:
        yield started
        assert issued_pieces(started) == {}


def power_worker(cluster: Cluster) -> int:
    """The pid of the power worker."""
    assert cluster.workers is not None
    children = Path(f"/proc/{cluster.workers.pid}/task/{cluster.workers.pid}/children")
    pids = [int(pid) for pid in children.read_text().split()]
    (found,) = (p for p in pids if b"worker power" in Path(f"/proc/{p}/cmdline").read_bytes())
    return found


@pytest.mark.parametrize("away", ["broker", "power worker"])
def test_a_job_runs_on_a_node_whose_suspend_was_never_executed(cluster: Cluster, away: str) -> None:
    slurm = cluster.slurm
    first = slurm.sbatch(JOB)
    until(lambda: slurm.job_state(first) == "COMPLETED", 90, "the first job")
    worker = power_worker(cluster)
    if away == "broker":
        cluster.broker.stop()
    else:
        os.kill(worker, signal.SIGSTOP)
    until(lambda: slurm.node_state("node1") == IDLE_AND_OFF, 60, "Slurm to count the node as off")
    (server,) = cluster.simulated.servers().values()
    assert server.status == "ACTIVE"
    second = slurm.sbatch(JOB, no_requeue=True)
    until(lambda: "POWERING_UP" in slurm.node_state("node1"), 30, "ResumeProgram to be called")
    if away == "broker":
        cluster.broker.start()
    else:
        os.kill(worker, signal.SIGCONT)
    until(
        lambda: slurm.job_state(second) in {"COMPLETED", "NODE_FAIL"}, 100, "the second job to end"
    )
    assert slurm.job_state(second) == "COMPLETED"
    (server,) = cluster.simulated.servers().values()
    assert server.status == "ACTIVE"
    counts = cluster.simulated.counts()
    assert counts.get("reboot", 0) + counts["start"] >= 2
