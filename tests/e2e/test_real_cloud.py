"""The whole path with a real cloud: Slurm, RabbitMQ, Keystone with OIDC federation, Nova."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from schemas.roles import Role
from schemas.snapshot import SlurmNode
from tests.e2e.test_cluster import JOB, available, lamplighter, outcomes
from tests.testbed.cluster import PROGRAMS, Cluster, ClusterPlan
from tests.testbed.leaks import KEYSTONE_TOKEN, SECRET_FILES, secrets_found
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.scripted_slurm import OFF, snapshots
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.config.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

STRATEGIES = {"node1": "stop", "node2": "shelve", "node3": "delete"}
OUT = {"node1": "SHUTOFF", "node2": "SHELVED_OFFLOADED"}


@pytest.fixture(scope="module")
def cluster(session_dir: Path) -> Iterator[Cluster]:
    slurm = SlurmSettings(nodes=4, suspend_time=8, suspend_timeout=15, resume_timeout=120)
    plan = ClusterPlan(slurm, boot=1.0, strategies=STRATEGIES, real=True, absent=("node4",))
    with Cluster(session_dir / "real", plan) as running:
        yield running


def test_a_job_resumes_nodes_of_every_strategy_and_they_are_suspended_again(
    cluster: Cluster,
) -> None:
    """From sbatch over the job's output to suspend, for stop, shelve and delete together.

    P6: no token of the run is in any file, not even in a dead letter.
    """
    cloud = real(cluster)
    cloud.await_status(["node2"], "SHUTOFF")
    job_id = cluster.slurm.sbatch(JOB, nodes=3)
    until(lambda: len(available(cluster)) == 3, 120, "three available nodes")
    assert {s.status for s in cloud.servers().values()} == {"ACTIVE"}
    until(lambda: cluster.slurm.job_state(job_id) == "COMPLETED", 90, "the job's end")
    output = cluster.slurm.output(job_id).split("\n")[:3]
    assert output == [f"hello from node{number}" for number in (1, 2, 3)]
    until(lambda: statuses(cloud) == OUT, 90, "all nodes powered off by their strategy")
    until(lambda: len(outcomes(cluster)) == 6, 60, "six outcomes in the audit")
    assert set(outcomes(cluster).values()) == {"completed"}
    assert lamplighter(cluster, "dead-letters", "list") == []

    operator(cluster, "resume", "node4", "--reason", "it has no server", "--no-wait")
    until(lambda: lamplighter(cluster, "dead-letters", "list"), 60, "the dead letter")
    assert KEYSTONE_TOKEN.fullmatch(cloud._user().id.encode())
    assert secrets_found(cluster) == SECRET_FILES


def test_a_node_is_deployed_and_baked_and_its_group_is_created_from_the_image(
    cluster: Cluster,
) -> None:
    """Nova makes the image, Glance stores it, and a server that is created again uses it.

    node1's server was there before Lamplighter: it is retired only after it was adopted.
    """
    cloud = real(cluster)
    # Otherwise Slurm would suspend the idle node during the bake.
    cluster.slurm.stop_ctld()
    operator(cluster, "tokens", "test", "simulated")
    # The last request for it was a failed resume, so only --powered-on may change it.
    with all_powered_down(cluster):
        operator(cluster, "nodes", "deploy", "node4", "--reason", "one more", "--powered-on")
    assert images_of_servers(cloud)["node4"] == cloud.image_id
    operator(cluster, "image", "bake", "node4", "--name", "prepared", "--yes")
    operator(cluster, "nodes", "adopt", "node1", "--reason", "it is ours")
    operator(cluster, "nodes", "retire", "node1", "--reason", "it is old", "--yes")
    with all_powered_down(cluster):
        operator(cluster, "nodes", "deploy", "node1", "--reason", "from the new image")
    images = images_of_servers(cloud)
    assert images["node4"] == cloud.image_id
    assert images["node1"] not in {cloud.image_id, None}
    assert statuses(cloud)["node1"] == "SHUTOFF"


def all_powered_down(cluster: Cluster) -> AbstractContextManager[None]:
    """Publish snapshots in the place of slurmctld, which is stopped."""
    nodes = [SlurmNode(name, OFF) for name in cluster.slurm.settings.node_names]
    return snapshots(load(cluster.settings.path, role=Role.SNAPSHOT), lambda: nodes)


def real(cluster: Cluster) -> RealOpenStack:
    """Return the cluster's real cloud."""
    assert isinstance(cluster.cloud, RealOpenStack)
    return cluster.cloud


def operator(cluster: Cluster, *words: str) -> None:
    """Run a command as an operator."""
    config = ("--config", cluster.settings.path)
    subprocess.run([PROGRAMS / "lamplighter", *config, *words], check=True)


def images_of_servers(cloud: RealOpenStack) -> dict[str, str | None]:
    """Return the image of each server, by name."""
    with cloud._nova() as nova:
        listed = nova.ask("GET", "/servers/detail")["servers"]
    return {server["name"]: (server["image"] or {"id": None})["id"] for server in listed}


def statuses(cloud: RealOpenStack) -> dict[str, str]:
    """Return the status of each server without a task, by name."""
    return {name: s.status for name, s in cloud.servers().items() if s.task_state is None}
