"""The whole path with a real cloud: Slurm, RabbitMQ, Keystone by OIDC federation, Nova."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.e2e.test_cluster import JOB, lamplighter, lit, outcomes
from tests.testbed.cluster import PROGRAMS, Cluster, Plan
from tests.testbed.leaks import KEYSTONE_TOKEN, SECRET_FILES, secrets_found
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.slurm_conf import Settings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

STRATEGIES = {"node1": "stop", "node2": "shelve", "node3": "delete"}
OUT = {"node1": "SHUTOFF", "node2": "SHELVED_OFFLOADED"}


def test_a_job_wakes_nodes_of_every_strategy_and_they_are_put_out_again(run_dir: Path) -> None:
    """From sbatch to the job's output to suspend, for stop, shelve and delete at once.

    P6: no token of the whole run is written anywhere, not even with a dead letter.
    """
    slurm = Settings(nodes=4, suspend_time=8, suspend_timeout=15, resume_timeout=120)
    plan = Plan(slurm, boot=1.0, strategies=STRATEGIES, real=True, absent=("node4",))
    with Cluster(run_dir, plan) as cluster:
        cloud = cluster.cloud
        assert isinstance(cloud, RealOpenStack)
        cloud.await_status(["node2"], "SHUTOFF")
        job_id = cluster.slurm.sbatch(JOB, nodes=3)
        until(lambda: len(lit(cluster)) == 3, 120, "three nodes lit")
        assert {s.status for s in cloud.servers().values()} == {"ACTIVE"}
        until(lambda: cluster.slurm.job_state(job_id) == "COMPLETED", 90, "the job's end")
        said = cluster.slurm.output(job_id).split("\n")[:3]
        assert said == [f"hello from node{number}" for number in (1, 2, 3)]
        until(lambda: statuses(cloud) == OUT, 90, "all nodes out, each in its way")
        until(lambda: len(outcomes(cluster)) == 6, 60, "six outcomes in the audit")
        assert set(outcomes(cluster).values()) == {"completed"}
        assert lamplighter(cluster, "dead-letters", "list") == []

        config = ("--config", cluster.settings.path)
        by_hand = ("resume", "node4", "--reason", "it has no server", "--no-wait")
        subprocess.run([PROGRAMS / "lamplighter", *config, *by_hand], check=True)
        until(lambda: lamplighter(cluster, "dead-letters", "list"), 60, "the dead letter")
        assert KEYSTONE_TOKEN.fullmatch(cloud._user().id.encode())
        assert secrets_found(cluster) == SECRET_FILES


def statuses(cloud: RealOpenStack) -> dict[str, str]:
    """Servers at rest."""
    return {name: s.status for name, s in cloud.servers().items() if s.task_state is None}
