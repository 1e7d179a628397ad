"""Servers that run and cost although nothing asks for them: each is named, and stopped where allowed.

A script acts as slurmctld: it calls the real hooks and publishes snapshots.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from producers.amqp import connection_parameters
from producers.message import Batch
from producers.publish import publish
from producers.snapshot import messages, take
from schemas.snapshot import SlurmNode
from tests.testbed.consumers import all_consume
from tests.testbed.simcloud.effects import NeverCompletes
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.settings import ServerSpec
from tests.testbed.waiting import until
from tests.testbed.whole_system import WORKERS, SystemPlan, WholeSystem
from workers.broker import topology
from workers.store.database import connect, reading
from workers.store.snapshots import snapshot_age

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ON, OFF = "IDLE+CLOUD", "IDLE+CLOUD+POWERED_DOWN"
GROUP = """strategy = "delete"
stop_timeout = 4.0
boots = 1
[groups.all.server]
image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
flavor = "m1.tiny"
networks = ["none"]
"""
RESYNC = """[slurm]
snapshot_interval = 2.0
[resync]
enabled = true
grace = 0
repeat_after = 5.0
delete_strays = true
"""


@pytest.fixture
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    """node1 runs; node2 has no server."""
    plan = SystemPlan(nodes=2, group=GROUP, more=RESYNC, servers=())
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=()) as running:
        for name in (*WORKERS, "resync"):
            running.worker(name)
        until(
            lambda: all_consume(running.settings, topology.SNAPSHOT_QUEUE),
            60,
            "the workers to consume their queues",
        )
        assert running.request("resume", "node1").returncode == 0
        until(lambda: running.statuses() == {"node1": "ACTIVE"}, 60, "node1 to run")
        running.settle()
        yield running


def snapshot(system: WholeSystem, **states: str) -> None:
    """Publish a snapshot of these nodes, as the snapshot worker does."""
    settings = system.settings
    nodes = [SlurmNode(node, state) for node, state in states.items()]
    taken = take(settings.cluster, settings.hook.state, lambda: nodes)
    batch = Batch(messages(taken, 30), lambda: None)
    parameters = connection_parameters(settings.broker, "test controller")
    assert publish(parameters, [batch], 10.0).problem is None


def has_come(system: WholeSystem) -> bool:
    """Whether a snapshot is in the store: before the first one, `lamplighter drift` has nothing to show."""
    store = connect(system.settings.store.url)
    try:
        with reading(store) as connection:
            return snapshot_age(connection, system.settings.cluster) is not None
    finally:
        store.dispose()


def drifts(system: WholeSystem) -> dict[str, dict[str, Any]]:
    """What `lamplighter drift` shows, by subject."""
    shown = json.loads(system.operator("drift", "--json").stdout)
    return {one["subject"]: one for one in shown["drifts"]}


def happens(system: WholeSystem, check: Callable[[], object], states: dict[str, str]) -> None:
    """Wait until something is so, while snapshots come."""

    def checked() -> object:
        snapshot(system, **states)
        return has_come(system) and check()

    until(checked, 60, str(check), interval=1.0)


def test_a_deletion_that_nova_lost_is_named_and_sent_again(system: WholeSystem) -> None:
    fault = system.cloud.inject(Fault(effect=NeverCompletes(), kind="delete"))
    assert system.request("suspend", "node1").returncode == 0
    states = {"node1": OFF, "node2": OFF}
    happens(system, lambda: drifts(system).get("node1", {}).get("drift") == "stuck", states)
    assert system.outcomes()["failed"] >= 1
    sent = system.cloud.counts()["delete"]
    system.cloud.remove_fault(fault)
    happens(system, lambda: system.statuses() == {}, states)
    assert system.cloud.counts()["delete"] > sent


def test_a_second_server_is_named_and_deleted_once_no_job_can_be_on_it(
    system: WholeSystem,
) -> None:
    """A creation that took effect late."""
    tags = {"lamplighter_cluster": "test", "lamplighter_node": "node1"}
    (late,) = system.cloud.add_servers([ServerSpec(name="late", status="ACTIVE", metadata=tags)])
    (own,) = (s for s in system.cloud.servers().values() if s.id != late.id)
    in_use = {"node1": ON, "node2": OFF}
    found: list[dict[str, Any]] = []

    def is_named() -> bool:
        found[:] = [one for one in drifts(system).values() if one["drift"] == "ambiguous"]
        return bool(found)

    happens(system, is_named, in_use)
    assert f"{own.id} ACTIVE (its own)" in found[0]["cloud"]
    assert f"{late.id} ACTIVE" in found[0]["cloud"]
    assert set(system.statuses()) == {"node1", "late"}
    system.cloud.set_power("late", on=False)
    happens(system, partial(_is_alone, system), in_use)
    assert system.statuses() == {"node1": "ACTIVE"}


def _is_alone(system: WholeSystem) -> bool:
    return len(system.statuses()) == 1


def test_a_node_that_slurm_no_longer_knows_is_stopped(system: WholeSystem) -> None:
    happens(system, lambda: system.statuses() == {}, {"node2": OFF})
    notes = [json.loads(entry.body)["data"].get("note", "") for entry in system.records()]
    assert any(note.startswith("resync: orphan") for note in notes)
