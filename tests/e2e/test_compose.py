"""compose.yaml as a user brings it up, with the simulated cloud of its profile `demo`."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.testbed.docker import DockerError, docker_engine
from tests.testbed.docker.compose import Project, compose_project
from tests.testbed.simcloud.client import SimControl
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.docker import Engine

pytestmark = [
    pytest.mark.docker,
    # The first time, the engine is installed and the images are built.
    pytest.mark.timeout(900),
]

SERVICES = ("rabbitmq", "postgres", "power", "tokens", "audit", "relay", "simcloud")
NODES = {"node1", "node2", "node3"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with docker_engine() as engine:
        yield engine


def test_a_request_sent_in_is_found_completed_in_the_audit(engine: Engine, tmp_path: Path) -> None:
    with compose_project(engine, tmp_path, *SERVICES) as project:
        project.run("lamplighter-resume", "node[1-3]")
        outcomes = until(lambda: _outcomes(project), 60.0, "an outcome of every request")
        assert outcomes == {node: ["completed"] for node in NODES}
        with closing(SimControl(f"http://{project.address('simcloud', 5000)}")) as cloud:
            assert {s.name for s in cloud.servers().values() if s.status == "ACTIVE"} == NODES

        containers = json.loads(engine.run("inspect", *project.containers()))
        assert {c["Name"]: c["RestartCount"] for c in containers if c["RestartCount"]} == {}
        assert _published(containers) == {"127.0.0.1"}
        told = json.dumps(containers) + project.compose("logs", "--no-color")
        for secret in ("broker_password", "postgres_password", "cloud_secret"):
            assert (project.secrets / secret).read_text().strip() not in told
    assert project.leftovers() == []


def _outcomes(project: Project) -> dict[str, list[str]] | None:
    """Return the terminal records by node, once every node has one."""
    listing = ("lamplighter", "audit", "list", "--json", "--limit", "1000")
    try:
        lines = project.compose("exec", "-T", "audit", *listing).splitlines()
    except DockerError as error:
        # The worker that makes the tables has been started, which is all that compose waits for.
        if "no tables yet" in str(error):
            return None
        raise
    outcomes: dict[str, list[str]] = {}
    for record in map(json.loads, lines):
        if record["happening"] in {"completed", "failed", "superseded", "discarded"}:
            outcomes.setdefault(record["subject"], []).append(record["happening"])
    return outcomes if outcomes.keys() >= NODES else None


def _published(containers: list[dict[str, Any]]) -> set[str]:
    """Return the addresses of this machine that containers listen on."""
    return {
        binding["HostIp"]
        for container in containers
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }
