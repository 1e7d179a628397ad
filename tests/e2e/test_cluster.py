"""The whole path on real Slurm and RabbitMQ: a job resumes nodes, runs, and they are suspended."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from schemas.events import Transition
from tests.testbed.cluster import PROGRAMS, Cluster, ClusterPlan
from tests.testbed.leaks import SECRET_FILES, issued_pieces, secrets_found
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.simcloud.effects import Echoes
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = "#!/bin/sh\nsrun sh -c 'echo hello from $SLURMD_NODENAME' | sort\nsleep 3\n"


@pytest.fixture
def cluster(run_dir: Path) -> Iterator[Cluster]:
    plan = ClusterPlan(SlurmSettings(nodes=3, suspend_time=8, suspend_timeout=5))
    with Cluster(run_dir, plan) as running:
        yield running
        assert issued_pieces(running) == {}


def lamplighter(cluster: Cluster, *arguments: str) -> list[dict[str, Any]]:
    """Run a command; return its JSON lines."""
    done = subprocess.run(
        [PROGRAMS / "lamplighter", "--config", cluster.settings.path, *arguments, "--json"],
        env=dict(MINIMAL_ENVIRONMENT),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def available(cluster: Cluster) -> set[str]:
    """Return the nodes that Slurm can use."""
    states = cluster.slurm.node_states()
    off = {"POWERED_DOWN", "POWERING_UP", "POWERING_DOWN", "DOWN"}
    return {node for node, state in states.items() if not state & off}


def all_powered_off(cluster: Cluster) -> bool:
    """Whether all nodes are powered off, for Slurm and in the cloud."""
    slurm = all("POWERED_DOWN" in state for state in cluster.slurm.node_states().values())
    return slurm and all(server.status == "SHUTOFF" for server in cluster.cloud.servers().values())


def test_a_job_resumes_its_nodes_runs_and_they_are_suspended_again(cluster: Cluster) -> None:
    """P1, P6, P8: one terminal record per request, no leaked secret, one call per node and action.

    The audit also has the registration of the nodes, and start and end of the job. The cloud repeats
    in each answer what it was sent, and refuses one call with it.
    """
    assert isinstance(cluster.cloud, SimCloud)
    cluster.cloud.set(echoes=True)
    cluster.cloud.inject(Fault(kind="start", effect=Echoes(status=500), times=1))
    job_id = cluster.slurm.sbatch(JOB, nodes=2)
    until(lambda: len(available(cluster)) == 2, 60, "two available nodes")
    until(lambda: cluster.slurm.job_state(job_id) == "COMPLETED", 90, "the job's end")
    assert cluster.slurm.output(job_id).split("\n")[:2] == ["hello from node1", "hello from node2"]
    until(lambda: all_powered_off(cluster), 90, "all nodes powered off")
    until(lambda: len(outcomes(cluster)) == 4, 30, "four outcomes in the audit")

    assert set(outcomes(cluster).values()) == {Transition.COMPLETED}
    until(
        lambda: recorded_runs(cluster, job_id) == ["started", "ended"], 30, "the run in the audit"
    )
    records = lamplighter(cluster, "audit", "list", "--job", str(job_id))
    assert {record["subject"] for record in records} == {"node1", "node2", str(job_id)}
    for wait in lamplighter(cluster, "audit", "why", str(job_id)):
        assert wait["asked"] < wait["registered"] < wait["job_started"]
        assert wait["waits"][-1]["what"].endswith(f" started job {job_id}")
        assert 0 <= wait["slurm_timer_seconds"] <= 32
    whose = report(cluster, "--by", "job")[str(job_id)]
    assert whose["nodes"] == 2
    assert whose["allocated_seconds"] == 2 * lasted(cluster, job_id)
    calls = cluster.cloud.counts()
    assert (calls["start"], calls["stop"], calls["rescope"]) == (2 + 1, 2, 1)
    assert cluster.cloud.servers()["node3"].status == "SHUTOFF"
    assert lamplighter(cluster, "dead-letters", "list") == []
    assert secrets_found(cluster) == SECRET_FILES


def report(cluster: Cluster, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the rows of the report by key."""
    program, config = PROGRAMS / "lamplighter", cluster.settings.path
    done = subprocess.run(
        [program, "--config", config, "report", "--from", "1h", "--format", "json", *arguments],
        env=dict(MINIMAL_ENVIRONMENT),
        capture_output=True,
        text=True,
        check=True,
    )
    return {row["key"]: row for row in json.loads(done.stdout)["rows"]}


def lasted(cluster: Cluster, job_id: int) -> float:
    """Return the run time of the job in seconds, from slurmctld."""
    shown = cluster.slurm.scontrol("--oneliner", "show", "job", str(job_id))
    begin, end = (
        datetime.fromisoformat(shown.split(f" {name}=")[1].split()[0])
        for name in ("StartTime", "EndTime")
    )
    return (end - begin).total_seconds()


def recorded_runs(cluster: Cluster, job_id: int) -> list[str]:
    """Return the audit records of the job's runs."""
    records = lamplighter(cluster, "audit", "list", "--job", str(job_id))
    types = [r["type"] for r in records if r["subject"] == str(job_id)]
    return [type_.removeprefix("lamplighter.job.").removesuffix(".v1") for type_ in types]


def outcomes(cluster: Cluster) -> dict[tuple[str, int], str]:
    """Return the terminal transition of each request's round; fail if a round has two."""
    ended = [
        (record["request_id"], record["round"], record["transition"])
        for record in lamplighter(cluster, "audit", "list", "--limit", "1000")
        if record["transition"] and Transition(record["transition"]).terminal
    ]
    twice = [key for key, n in Counter((r, n) for r, n, _ in ended).items() if n > 1]
    assert not twice
    return {(request, round_): transition for request, round_, transition in ended}
