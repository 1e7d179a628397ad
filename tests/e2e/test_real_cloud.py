"""The whole path with a real cloud: Slurm, RabbitMQ, Keystone by OIDC federation, Nova."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_cluster import JOB, lamplighter, lit, outcomes
from tests.testbed.cluster import PROGRAMS, Cluster, ClusterPlan
from tests.testbed.leaks import KEYSTONE_TOKEN, SECRET_FILES, secrets_found
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STRATEGIES = {"node1": "stop", "node2": "shelve", "node3": "delete"}
OUT = {"node1": "SHUTOFF", "node2": "SHELVED_OFFLOADED"}


@pytest.fixture(scope="module")
def cluster(session_dir: Path) -> Iterator[Cluster]:
    slurm = SlurmSettings(nodes=4, suspend_time=8, suspend_timeout=15, resume_timeout=120)
    plan = ClusterPlan(slurm, boot=1.0, strategies=STRATEGIES, real=True, absent=("node4",))
    with Cluster(session_dir / "real", plan) as running:
        yield running


def test_a_job_wakes_nodes_of_every_strategy_and_they_are_put_out_again(cluster: Cluster) -> None:
    """From sbatch to the job's output to suspend, for stop, shelve and delete at once.

    P6: no token of the whole run is written anywhere, not even with a dead letter.
    """
    cloud = real(cluster)
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

    operator(cluster, "resume", "node4", "--reason", "it has no server", "--no-wait")
    until(lambda: lamplighter(cluster, "dead-letters", "list"), 60, "the dead letter")
    assert KEYSTONE_TOKEN.fullmatch(cloud._user().id.encode())
    assert secrets_found(cluster) == SECRET_FILES


def test_a_node_is_deployed_and_baked_and_its_group_is_made_from_the_image(
    cluster: Cluster,
) -> None:
    """Nova makes the image, Glance keeps it, and a server that is made anew is made from it."""
    cloud = real(cluster)
    # or it would put out in the midst of it what it sees idle
    cluster.slurm.stop_ctld()
    operator(cluster, "tokens", "test", "simulated")
    # it has been asked to be up, in vain, so that only --powered-on dares to touch it
    operator(cluster, "nodes", "deploy", "node4", "--reason", "one more", "--powered-on")
    assert images_of_servers(cloud)["node4"] == cloud.image_id
    operator(cluster, "image", "bake", "node4", "--name", "prepared", "--yes")
    operator(cluster, "nodes", "retire", "node1", "--reason", "it is old", "--yes")
    operator(cluster, "nodes", "deploy", "node1", "--reason", "from the new image")
    images = images_of_servers(cloud)
    assert images["node4"] == cloud.image_id
    assert images["node1"] not in {cloud.image_id, None}
    assert statuses(cloud)["node1"] == "SHUTOFF"


def real(cluster: Cluster) -> RealOpenStack:
    """The cluster's cloud."""
    assert isinstance(cluster.cloud, RealOpenStack)
    return cluster.cloud


def operator(cluster: Cluster, *words: str) -> None:
    """What a person does."""
    config = ("--config", cluster.settings.path)
    subprocess.run([PROGRAMS / "lamplighter", *config, *words], check=True)


def images_of_servers(cloud: RealOpenStack) -> dict[str, str | None]:
    """By the server's name."""
    with cloud._nova() as nova:
        listed = nova.ask("GET", "/servers/detail")["servers"]
    return {server["name"]: (server["image"] or {"id": None})["id"] for server in listed}


def statuses(cloud: RealOpenStack) -> dict[str, str]:
    """Servers at rest."""
    return {name: s.status for name, s in cloud.servers().items() if s.task_state is None}
