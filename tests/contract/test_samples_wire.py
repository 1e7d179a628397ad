"""What a released version has on the wire keeps its name: another one needs a migration (CONTRIBUTING.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas import headers, registrations, snapshot
from schemas.commands import Kind
from schemas.events import Transition
from schemas.jobs import JobTransition
from tests.samples import FOLDER, VERSIONS
from workers.broker.topology import topology


def wire() -> dict[str, Any]:
    """Exchanges with their types, queues with their arguments, bindings, headers; types with their keys."""
    today = topology()
    kinds = (*Kind, *Transition, *JobTransition)
    keys = {
        registrations.TYPE: registrations.ROUTING_KEY,
        snapshot.TYPE: snapshot.ROUTING_KEY,
        **{kind.type: kind.routing_key for kind in kinds},
    }
    return {
        "exchanges": {one.name: one.type for one in today.exchanges},
        "queues": {one.name: dict(one.arguments) for one in today.queues},
        "bindings": [[one.exchange, one.queue, one.key] for one in today.bindings],
        "headers": [text for name, text in vars(headers).items() if name.isupper()],
        "types": keys,
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", ["exchanges", "queues", "bindings", "headers", "types"])
def test_a_name_on_the_wire_stays_as_it_was_released(version: str, what: str) -> None:
    """Messages wait under it, and hooks of the older version send to it; new names may come."""
    released, today = json.loads((FOLDER / version / "wire.json").read_text())[what], wire()[what]
    assert released
    if isinstance(released, dict):
        today = {name: today.get(name) for name in released}
        assert today == released
    else:
        assert [one for one in released if one not in today] == []
