"""compose.yaml, started as a user does, with the simulated cloud of the profile `demo`."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.testbed.docker import DockerError, docker_engine
from tests.testbed.docker.build import REPOSITORY
from tests.testbed.docker.compose import Project, compose_project
from tests.testbed.simcloud.client import SimControl
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.docker import Engine

pytestmark = [
    pytest.mark.docker,
    # The first run installs the engine and builds the images.
    pytest.mark.timeout(900),
]

DEMO = ("slurm", "node1", "node2", "node3", "simcloud", "resync")
SERVICES = (*DEMO, "rabbitmq", "postgres", "power", "tokens", "audit", "relay", "console")
CLUSTER = ("compose.yaml", "deploy/compose/cluster.yaml")
PORTS = ("9465", "9466", "9467", "9468")
NODES = {"node1", "node2", "node3"}
JOB_NODES = {"node1", "node2"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with docker_engine() as engine:
        yield engine


def test_a_job_of_the_demo_lights_its_nodes_and_they_go_out_again(
    engine: Engine, tmp_path: Path
) -> None:
    """By the commands at the top of compose.yaml; RabbitMQ and PostgreSQL restart meanwhile.

    No secret is leaked, nothing is published but on loopback, nothing remains.
    """
    with compose_project(engine, tmp_path, *SERVICES) as project:
        with closing(SimControl(f"http://{project.address('simcloud', 5000)}")) as cloud:
            first, *others = _commands_in_slurm()
            assert "Submitted batch job 1" in project.compose(*first)
            _await_outcomes(project, {node: ["completed"] for node in JOB_NODES})
            assert _in_status(cloud, "ACTIVE") == JOB_NODES
            # the page follows the store, a moment after the outcome
            until(lambda: "2 of 9 nodes lit" in _page(project), 10.0, "the lamps on the page")
            until(lambda: "COMPLETED" in _job(project), 60.0, "the end of the job")
            shown = [project.compose(*command) for command in others]
            assert "idle~ node3" in shown[0]
            assert set(shown[1].split()) == JOB_NODES

            project.compose("restart", "rabbitmq", "postgres")
            _await_outcomes(project, {node: ["completed", "completed"] for node in JOB_NODES})
            assert _in_status(cloud, "SHUTOFF") == NODES

        containers = json.loads(engine.run("inspect", *project.containers()))
        assert {c["Name"]: c["RestartCount"] for c in containers if c["RestartCount"]} == {}
        assert _published(containers) == {"127.0.0.1"}
        told = json.dumps(containers) + project.compose("logs", "--no-color")
        for secret in ("rabbitmq_admin", "power.password", "postgres_password", "cloud_secret"):
            assert (project.secrets / secret).read_text().strip() not in told
        for role in ("setup", "power", "console"):
            assert (project.secrets / f"{role}.pgpass").read_text().split(":")[
                -1
            ].strip() not in told
        assert "permission denied" not in project.compose("logs", "postgres")
    assert project.leftovers() == []


def test_requests_go_on_while_a_broker_node_and_a_power_worker_are_away(
    engine: Engine, tmp_path: Path
) -> None:
    """deploy/compose/cluster.yaml: all queues are on three nodes."""
    # the relay: a hook may have to spool
    services = ("power", "tokens", "audit", "relay", "simcloud", "prometheus")
    with (
        compose_project(engine, tmp_path, *services, files=CLUSTER) as project,
        closing(SimControl(f"http://{project.address('simcloud', 5000)}")) as cloud,
    ):
        prometheus = f"http://{project.address('prometheus', 9090)}"
        setup = ("run", "--rm", "--no-deps", "-T", "setup", "lamplighter")
        assert "no differences" in project.compose(*setup, "topology", "check")
        workers = project.compose("ps", "--quiet", "power").split()
        assert len(workers) == 2

        until(lambda: _scraped(prometheus) == {*PORTS}, 40.0, "Prometheus to scrape all")
        assert _alerts(prometheus) > 10

        project.run("lamplighter-resume", "node[1-3]")
        project.compose("kill", "rabbitmq")
        engine.run("kill", workers[0])
        _await_outcomes(project, {node: ["completed"] for node in NODES})
        assert _in_status(cloud, "ACTIVE") == NODES
        project.run("lamplighter-suspend", "node[1-3]")
        _await_outcomes(project, {node: ["completed", "completed"] for node in NODES})
        assert _in_status(cloud, "SHUTOFF") == NODES
        cookie = (project.secrets / "erlang_cookie").read_text().strip()
        containers = engine.run("inspect", *project.containers())
        assert cookie not in containers + project.compose("logs", "--no-color")
    assert project.leftovers() == []


def _commands_in_slurm() -> list[list[str]]:
    """The commands in the container `slurm` that compose.yaml prints, without the words before `exec`."""
    text = (REPOSITORY / "compose.yaml").read_text()
    lines = re.findall(r"^#   docker compose (exec slurm .*?)(?: {3,}.*)?$", text, re.MULTILINE)
    return [["exec", "-T", *shlex.split(line)[1:]] for line in lines]


def _job(project: Project) -> str:
    return project.compose("exec", "-T", "slurm", "scontrol", "show", "job", "1")


def _in_status(cloud: SimControl, status: str) -> set[str]:
    return {name for name, server in cloud.servers().items() if server.status == status}


def _scraped(prometheus: str) -> set[str]:
    """The ports of the processes that Prometheus reads, each of two power workers too."""
    answer = requests.get(f"{prometheus}/api/v1/query", {"query": "up == 1"}, timeout=20).json()
    instances = {one["metric"]["instance"] for one in answer["data"]["result"]}
    both = sum(one.endswith(":9466") for one in instances) == 2
    return {one.rpartition(":")[2] for one in instances} if both else set()


def _alerts(prometheus: str) -> int:
    """How many of our alert rules Prometheus has loaded."""
    groups = requests.get(f"{prometheus}/api/v1/rules", timeout=20).json()["data"]["groups"]
    return sum(len(group["rules"]) for group in groups)


def _page(project: Project) -> str:
    """Return the console's first page, requested as on its default port."""
    host = {"Host": "127.0.0.1:8617"}
    return requests.get(f"http://{project.address('console', 8617)}", headers=host, timeout=20).text


def _await_outcomes(project: Project, wanted: dict[str, list[str]]) -> None:
    until(lambda: _outcomes(project) == wanted, 90.0, "the outcome of every request")


def _outcomes(project: Project) -> dict[str, list[str]]:
    """Return the audit's terminal records by node."""
    listing = ("lamplighter", "audit", "list", "--json", "--limit", "1000")
    try:
        lines = project.compose("run", "--rm", "--no-deps", "-T", "operator", *listing).splitlines()
    except DockerError as error:
        # Compose waits until the worker that creates the tables has started, not until it is ready.
        if "no tables yet" in str(error):
            return {}
        raise
    outcomes: dict[str, list[str]] = {}
    for record in map(json.loads, lines):
        if record["transition"] in {"completed", "failed", "superseded", "discarded"}:
            outcomes.setdefault(record["subject"], []).append(record["transition"])
    return outcomes


def _published(containers: list[dict[str, Any]]) -> set[str]:
    """Return the addresses of this machine on which containers publish ports."""
    return {
        binding["HostIp"]
        for container in containers
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }
