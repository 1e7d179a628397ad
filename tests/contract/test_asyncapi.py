"""schemas/asyncapi.yaml matches the topology and the real messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from schemas import headers
from schemas.commands import Kind
from schemas.events import Transition
from schemas.jobs import JobTransition
from schemas.registrations import TYPE as REGISTERED
from schemas.snapshot import ROUTING_KEY
from schemas.snapshot import TYPE as SNAPSHOT
from workers.broker import topology as place

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = Path(__file__).parents[2] / "schemas" / "asyncapi.yaml"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text())
    return loaded


def channels(document: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The channels that are exchanges or queues, by name."""
    found = {}
    for channel in document["channels"].values():
        binding = channel.get("bindings", {}).get("amqp", {})
        if kind in binding:
            assert channel["address"] == binding[kind]["name"]
            assert binding["bindingVersion"] == "0.3.0"
            found[channel["address"]] = channel
    return found


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_exchanges_match_the_topology(document: dict[str, Any]) -> None:
    described = {
        name: channel["bindings"]["amqp"]["exchange"]["type"]
        for name, channel in channels(document, "exchange").items()
    }
    assert described == {e.name: e.type for e in place.topology().exchanges}


def test_queues_match_the_topology_with_arguments_and_bindings(
    document: dict[str, Any],
) -> None:
    described = channels(document, "queue")
    topology = place.topology()
    assert {name: channel["x-arguments"] for name, channel in described.items()} == {
        queue.name: dict(queue.arguments) for queue in topology.queues
    }
    bound = {
        (binding["exchange"], name, binding["routingKey"])
        for name, channel in described.items()
        for binding in channel["x-bound-by"]
    }
    assert bound == {(b.exchange, b.queue, b.key) for b in topology.bindings}


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    for reference in references(document):
        if reference.startswith("#/"):
            found: Any = document
            for step in reference.removeprefix("#/").split("/"):
                found = found[step]
        else:
            assert json.loads((PATH.parent / reference).read_text())["title"]


def test_each_message_has_its_type_key_and_schema(document: dict[str, Any]) -> None:
    described = {
        message["name"]: (message.get("x-routing-key"), message["payload"]["schema"]["$ref"])
        for message in document["components"]["messages"].values()
    }
    for kind in (*Kind, *Transition, *JobTransition):
        file = f"./json/{kind.type.removeprefix('lamplighter.')}.json"
        assert described.pop(kind.type) == (kind.routing_key, file)
    registered = f"./json/{REGISTERED.removeprefix('lamplighter.')}.json"
    assert described.pop(REGISTERED) == ("node.registered", registered)
    snapshot = f"./json/{SNAPSHOT.removeprefix('lamplighter.')}.json"
    assert described.pop(SNAPSHOT) == (ROUTING_KEY, snapshot)
    assert len(described) == 4  # notices, notifications, and the token service's two


def test_an_operation_names_only_messages_of_its_channel(document: dict[str, Any]) -> None:
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"]
        for message in operation.get("messages", []):
            assert message["$ref"].startswith(f"{channel}/messages/")


def test_the_headers_match_schemas_headers(document: dict[str, Any]) -> None:
    described = set(document["components"]["schemas"]["commandHeaders"]["properties"])
    assert described == {
        value for name, value in vars(headers).items() if name.isupper() and isinstance(value, str)
    }
