"""What the compose files give a container: no capability, no root, bounded resources, own networks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Its image brings plugins that it updates in place.
WRITES_ITS_IMAGE = {"grafana"}
# Images that name a user who is not root.
OWN_USER = {"prometheus", "grafana"}


def services() -> dict[str, dict[str, Any]]:
    """The services of both files; the second one adds to those of the first."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("compose.yaml", "deploy/compose/cluster.yaml"):
        for service, fields in yaml.safe_load((ROOT / name).read_text())["services"].items():
            found[service] = {**found.get(service, {}), **fields}
    return found


SERVICES = services()


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service.get("read_only", False) is (name not in WRITES_ITS_IMAGE)
    assert service.get("network_mode") is None


def user_of(target: str | None) -> str:
    """The user of a stage of the Dockerfile; None is the last stage."""
    users: dict[str | None, str] = {}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if named := re.match(r"FROM (\S+)(?: AS (\S+))?$", line):
            stage = named[2]
            users[stage] = users.get(named[1], "root")
        elif user := re.match(r"USER (\S+)$", line):
            users[stage] = user[1]
    return users[target]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - OWN_USER))
def test_no_container_runs_as_root(name: str) -> None:
    service = SERVICES[name]
    build = service.get("build")
    user = service.get("user")
    if build is not None and user is None:
        user = user_of(None if build == "." else build.get("target"))
    assert user not in {None, "root", "0", 0}


# Networks and who is in them, written by hand.
REACH = {
    "cloud": {"power", "tokens", "notify", "operator", "simcloud"},
    "database": {
        *("postgres", "setup", "power", "tokens", "audit", "resync", "notify", "console"),
        *("operator", "slurm"),
    },
}


@pytest.mark.parametrize("network", REACH)
def test_only_those_that_need_a_network_are_in_it(network: str) -> None:
    """The hooks, the relay and the nodes reach neither the database nor a cloud."""
    assert {name for name, one in SERVICES.items() if network in one["networks"]} == REACH[network]


def test_ports_are_published_on_loopback_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_grafana_finds_its_data_source_and_the_dashboard_where_they_are_mounted() -> None:
    """Its own program runs in no test: this is what it reads at its start."""
    files = yaml.safe_load((ROOT / "compose.yaml").read_text())["configs"]
    mounted = {
        Path(one["target"]): ROOT / files[one["source"]]["file"]
        for one in SERVICES["grafana"]["configs"]
    }
    provisioning = Path("/etc/grafana/provisioning")  # by default
    found = {path.parent: yaml.safe_load(file.read_text()) for path, file in mounted.items()}
    [source] = found[provisioning / "datasources"]["datasources"]
    [provider] = found[provisioning / "dashboards"]["providers"]
    dashboards = [
        file
        for path, file in mounted.items()
        if path.is_relative_to(provider["options"]["path"]) and path.suffix == ".json"
    ]
    [dashboard] = [json.loads(file.read_text()) for file in dashboards]
    # each panel asks the source that a variable selects: by default the first one of its type
    [variable] = dashboard["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
    assert source["isDefault"]
    wanted = {"type": source["type"], "uid": f"${{{variable['name']}}}"}
    assert dashboard["panels"]
    assert all(panel["datasource"] == wanted for panel in dashboard["panels"])
    address = urlsplit(source["url"])
    served = SERVICES[str(address.hostname)]
    assert set(served["networks"]) & set(SERVICES["grafana"]["networks"])
    assert served["ports"][0].endswith(f":{address.port}")


def test_every_configuration_that_a_service_names_is_a_file() -> None:
    files: dict[str, Any] = {}
    for name in ("compose.yaml", "deploy/compose/cluster.yaml"):
        files |= yaml.safe_load((ROOT / name).read_text()).get("configs", {})
    named = {
        one if isinstance(one, str) else one["source"]
        for service in SERVICES.values()
        for one in service.get("configs", ())
    }
    assert named <= files.keys()
    paths = {re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", files[name]["file"]) for name in named}
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []


def test_a_hung_broker_costs_the_same_in_the_docs_in_containers_and_in_the_tests() -> None:
    """The measured times hold for one value."""
    files = (
        "docs/broker-cluster.md",
        "deploy/compose/cluster.yaml",
        "tests/testbed/rabbitmq_node.py",
    )
    found = {
        name: re.findall(r"-kernel net_setuptime (\d+)", (ROOT / name).read_text())
        for name in files
    }
    assert all(values == ["1"] for values in found.values()), found
