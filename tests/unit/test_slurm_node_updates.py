"""Due nodes: another worker may have handled them while this process was stopped."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from tests.testbed.deliveries import RecordingLink
from tests.testbed.installation import CLUSTER, ONE_GROUP, Installation
from workers.process.runtime import Runtime
from workers.slurm import scontrol
from workers.slurm.metrics import SlurmMetrics
from workers.slurm.node_memory import Due, NodeMemory, recall, remember
from workers.slurm.node_updates import NodeUpdates
from workers.slurm.scontrol import Slurm
from workers.store import holds
from workers.store.database import open_store
from workers.store.holds import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

REASON = "lamplighter: quota: none"
DUE = NodeMemory("node1", 7, 1, Due.RETURN, 1, "quota", REASON, 1)
LINE = f"NodeName=node1 State=DOWN+CLOUD+POWERED_DOWN NodeAddr=x Reason={REASON} [root@2026]"


class FakeCommands:
    """scontrol with one node that is out of service; `on_read` is called after the first reading."""

    def __init__(self, _settings: object) -> None:
        self.line = LINE
        self.updates: list[tuple[str, ...]] = []
        self.on_read: Callable[[], None] = lambda: None

    def query(self, _program: str, *arguments: str) -> str:
        return self.run(_program, *arguments)

    def run(self, _program: str, *arguments: str) -> str:
        if arguments[0] == "update":
            self.updates.append(arguments[1:])
            return ""
        self.on_read()
        return self.line


class Bench:
    """A worker's updates, its store, and a fake scontrol."""

    def __init__(self, run: Runtime) -> None:
        self.store = run.store
        slurm = Slurm(run.settings)
        commands = slurm._commands
        assert isinstance(commands, FakeCommands)
        self.commands = commands
        metrics = SlurmMetrics(CollectorRegistry())
        self.updates = NodeUpdates(run, slurm, RecordingLink().link, metrics)

    def remember(self, memory: NodeMemory) -> None:
        with self.store.begin() as connection:
            remember(connection, CLUSTER, [memory])

    @property
    def memory(self) -> NodeMemory | None:
        with self.store.begin() as connection:
            return recall(connection, CLUSTER, ["node1"]).get("node1")


@pytest.fixture
def store(run_dir: Path) -> Iterator[sa.Engine]:
    engine = open_store(f"sqlite:///{run_dir}/state.db", "state")
    yield engine
    engine.dispose()


@pytest.fixture
def bench(run_dir: Path, store: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(scontrol, "SlurmCommands", FakeCommands)
    settings = Installation(
        run_dir / "site", "amqp://me:secret@127.0.0.1:1/v", more=ONE_GROUP
    ).settings
    return Bench(Runtime(settings, "slurm", "slurm@test:1", store))


def test_node_returns_when_its_cool_down_is_over(bench: Bench) -> None:
    bench.remember(DUE)
    bench.updates.on_due()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")]
    assert bench.memory is not None
    assert bench.memory.due is Due.FORGET


def test_node_that_another_worker_has_handled_meanwhile_is_not_updated(bench: Bench) -> None:
    """It returned the node, whose next boot failed too: with the same reason, and a longer cool-down."""
    bench.remember(DUE)
    newer = replace(DUE, generation=8, failures=2, failed_at=2, due_at=10**18)
    bench.commands.on_read = lambda: bench.remember(newer)
    bench.updates.on_due()
    assert bench.commands.updates == []
    assert bench.memory == newer


def test_lost_return_is_due_again_and_sent_again(bench: Bench) -> None:
    """Slurm still shows the node as out of service, although it confirmed the RESUME."""
    bench.remember(DUE)
    bench.updates.on_due()
    bench.updates.take_up()
    assert bench.memory is not None
    assert bench.memory.due is Due.RETURN
    bench.remember(replace(bench.memory, due_at=1))
    bench.updates.on_due()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")] * 2


def test_a_node_on_hold_that_slurm_has_lost_from_view_gets_no_jobs_before_its_release(
    bench: Bench,
) -> None:
    """It is under maintenance: its next job would wait for a boot that is parked."""
    bench.commands.line = "NodeName=node1 State=IDLE+CLOUD+POWERED_DOWN+NOT_RESPONDING NodeAddr=x"
    with bench.store.begin() as connection:
        holds.place(connection, CLUSTER, [Hold("node1", "disk swap", "me", 1)])
    bench.updates.take_up()
    assert bench.commands.updates == []
    with bench.store.begin() as connection:
        holds.lift(connection, CLUSTER, ["node1"])
    bench.updates.take_up()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")]


def test_a_return_that_a_clock_of_tomorrow_has_set_is_due_at_the_next_search(bench: Bench) -> None:
    tomorrow = time.time_ns() + 86_400 * 10**9
    bench.remember(replace(DUE, due_at=tomorrow, failed_at=tomorrow))
    bench.updates.on_due()
    assert bench.commands.updates == []
    bench.updates.take_up()
    bench.updates.on_due()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")]
