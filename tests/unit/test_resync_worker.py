"""The resync worker fails closed: without a certain state it repairs nothing, and notifies operators."""

from __future__ import annotations

import queue
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from msgspec import structs

from producers.snapshot import messages
from schemas.commands import PowerCommand, parse_command
from schemas.envelope import parse
from schemas.notices import Notice, notice_from
from schemas.server import Server
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.deliveries import RecordingLink, delivery
from tests.testbed.installation import CLUSTER, ONE_GROUP, Installation
from tests.testbed.messages import CORRELATION
from tests.testbed.statements import counted
from tests.testbed.waiting import until
from workers.broker import topology
from workers.process.runtime import Runtime
from workers.resync import drift_memory
from workers.resync.drift import Drift
from workers.resync.drift_memory import DriftMemory
from workers.resync.snapshot_intake import SnapshotIntake
from workers.resync.worker import ResyncWorker
from workers.slurm.node_memory import Due, NodeMemory, remember
from workers.store import snapshots, tables
from workers.store.database import open_store
from workers.store.generations import refuse_stamped_before
from workers.store.snapshots import StoredListing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from producers.message import Message
    from workers.broker.delivery import Delivery

NS = 10**9
MORE = f"""
[slurm]
snapshot_interval = 0.2
[resync]
enabled = true
grace = 0
stale_after = 4.0
{ONE_GROUP}"""


class Confirming(RecordingLink):
    """A broker that confirms immediately."""

    is_up = True

    def publish(self, message: Message) -> Future[None]:
        future = super().publish(message)
        self.answer_all()
        return future


class Bench:
    """The worker, its store, and its published messages."""

    def __init__(self, run: Runtime) -> None:
        self.run = run
        self.link = Confirming()
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self.resync = ResyncWorker(run, self.link.link, self.deliveries)

    def receive(self, *parts: Message) -> None:
        """Receive parts of a snapshot."""
        for part in parts:
            self.deliveries.put(delivery(part.body))
            self.resync.turn()

    def list_cloud(self, generation: int, *servers: Server) -> None:
        """Store a listing of the cloud for a snapshot."""
        with self.run.store.begin() as connection:
            listing = StoredListing("one", generation, time.time_ns(), servers)
            snapshots.keep_listing(connection, CLUSTER, listing)
        self.resync.turn()

    def turns(self, seconds: float) -> None:
        """Run the loop for some seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.resync.turn()

    def turned_notices(self) -> list[Notice]:
        """The notices after one more turn of the loop."""
        self.resync.turn()
        return self.notices

    @property
    def requested(self) -> list[PowerCommand]:
        sent = self.link.published
        return [parse_command(m.body) for m in sent if m.exchange == topology.COMMANDS]

    @property
    def notices(self) -> list[Notice]:
        sent = self.link.published
        return [notice_from(parse(m.body)) for m in sent if m.exchange == topology.EVENTS]


@pytest.fixture
def bench(run_dir: Path) -> Iterator[Bench]:
    settings = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v", more=MORE).settings
    store = open_store(settings.store.url, "state")
    yield Bench(Runtime(settings, "resync", "resync@test:1", store))
    store.dispose()


def view(generation: int | None = None) -> Snapshot:
    nodes = tuple(SlurmNode(f"node{i}", "IDLE+CLOUD+POWERED_DOWN") for i in range(1, 4))
    return Snapshot(CLUSTER, generation or time.time_ns(), CORRELATION, "host", nodes)


RUNNING = Server("id-1", "node1", "ACTIVE")


def test_orphan_is_powered_off_once_all_parts_and_the_listing_are_present(bench: Bench) -> None:
    snapshot = view()
    first, second = messages(snapshot, 2)
    bench.receive(first)
    bench.list_cloud(snapshot.generation, RUNNING)
    assert bench.requested == []
    bench.receive(second)
    (requested,) = bench.requested
    assert (requested.node, requested.generation) == ("node1", snapshot.generation)
    assert len(bench.link.acked) == 2
    assert "1 drifted" in bench.run.state


def test_the_age_of_snapshots_is_looked_at_seldom_where_they_may_be_old(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bench.run.settings
    bench.run.settings = structs.replace(
        settings, resync=structs.replace(settings.resync, stale_after=300.0)
    )
    resync, now = ResyncWorker(bench.run, bench.link.link, bench.deliveries), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    looks = []
    for _ in range(3):
        with counted(bench.run.store) as statements:
            resync.turn()
        looks.append(bool(statements))
        now += 5.5
    assert looks == [True, False, True]


def test_snapshot_is_not_compared_with_an_older_listing(bench: Bench) -> None:
    snapshot = view()
    bench.list_cloud(snapshot.generation - 1, RUNNING)
    bench.receive(*messages(snapshot))
    bench.turns(0.4)
    assert bench.requested == []
    assert "not listed: one" in bench.run.state


def test_lost_part_costs_one_snapshot(bench: Bench) -> None:
    lost, snapshot = view(), replace(view(), correlation_id="f" * 32)
    bench.receive(next(messages(lost, 2)), *messages(snapshot, 2))
    bench.list_cloud(snapshot.generation, RUNNING)
    assert [requested.generation for requested in bench.requested] == [snapshot.generation]


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        next(messages(view(time.time_ns() - 3600 * NS))).body,
        next(messages(replace(view(), cluster="other"))).body,
    ],
)
def test_a_snapshot_that_is_unreadable_late_or_of_another_cluster_is_ignored(
    bench: Bench, body: bytes
) -> None:
    bench.deliveries.put(delivery(body))
    bench.resync.turn()
    assert len(bench.link.acked) == 1
    with bench.run.store.begin() as connection:
        assert snapshots.snapshot_age(connection, CLUSTER) is None


@pytest.mark.parametrize("reset", [False, True])
def test_a_snapshot_from_the_future_shows_where_the_hooks_clock_is_unless_that_was_reset(
    bench: Bench,
    reset: bool,  # noqa: FBT001
) -> None:
    now = time.time_ns()
    ahead = view(now + 86_400 * NS)
    if reset:
        with bench.run.store.begin() as connection:
            refuse_stamped_before(connection, CLUSTER, now, ahead.generation)
    bench.receive(*messages(ahead))
    with bench.run.store.begin() as connection:
        known = snapshots.snapshot_age(connection, CLUSTER)
    assert (known.generation if known else None) == (None if reset else ahead.generation)


@pytest.mark.parametrize(("pace", "known"), [(0, True), (60, False)])
def test_snapshots_that_come_as_fast_as_they_are_taken_are_not_old_though_our_clock_is_ahead(
    bench: Bench, *, pace: int, known: bool
) -> None:
    """An hour ahead, no node would be powered on or off. Those that waited in a queue come all at once."""
    settings = bench.run.settings
    slurm = structs.replace(settings.slurm, snapshot_interval=60.0)
    intake = SnapshotIntake(structs.replace(settings, slurm=slurm), bench.run.store)
    kept = []
    for number in range(5):
        taken = replace(
            view(time.time_ns() + (number * pace - 3600) * NS), correlation_id=f"{number:032x}"
        )
        parts = [delivery(part.body) for part in messages(taken, 2)]
        kept += [intake.add(part) is not None for part in parts]
    assert kept == [False] * 9 + [known]


@pytest.mark.slow
def test_missing_snapshots_are_notified_once(bench: Bench) -> None:
    bench.receive(*messages(view()))
    until(bench.turned_notices, 20, "an alarm")
    bench.turns(1.5)
    assert [notice.name for notice in bench.notices] == ["alarm.no_snapshot"]
    assert "nothing is repaired" in bench.run.state
    assert bench.requested == []


def test_stray_is_reported_once_and_not_touched(bench: Bench) -> None:
    stray = Server("id-9", "old", "ACTIVE", cluster=CLUSTER, node="node9")
    for _ in range(2):
        snapshot = view()
        bench.receive(*messages(snapshot))
        bench.list_cloud(snapshot.generation, stray)
    (notice,) = bench.notices
    assert (notice.name, notice.subject) == ("alarm.drift", "id-9")
    assert bench.requested == []


def test_notices_are_limited_if_everything_drifts(bench: Bench) -> None:
    snapshot = view()
    bench.receive(*messages(snapshot))
    strays = [
        Server(f"id-{i}", f"old{i}", "ACTIVE", cluster=CLUSTER, node=f"old{i}") for i in range(50)
    ]
    bench.list_cloud(snapshot.generation, *strays)
    *each, last = bench.notices
    assert len(each) == 20
    assert last.message == "30 more drifts"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["lamplighter: quota: none", "ResumeTimeout reached"])
def test_node_that_failed_to_return_is_reported_once(bench: Bench, text: str) -> None:
    """Slurm lost its RESUME, or the resume-fail of the node failed."""
    for turn in range(3):
        snapshot = view(time.time_ns() + turn)
        down = replace(snapshot.nodes[0], state="DOWN+CLOUD+POWERED_DOWN", reason=text)
        bench.list_cloud(snapshot.generation)
        bench.receive(*messages(replace(snapshot, nodes=(down, *snapshot.nodes[1:]))))
        bench.turns(0.3)
    (notice,) = bench.notices
    assert (notice.name, notice.subject) == ("alarm.drift", "node1")
    assert notice.message.startswith("left_down: Slurm: DOWN+CLOUD+POWERED_DOWN")
    assert bench.requested == []


def test_no_second_server_starts_for_a_node_that_answers_from_its_groups_former_cloud(
    run_dir: Path,
) -> None:
    """Its group was moved to another cloud, where a server of its name is ready, while a job ran."""
    former = MORE[MORE.index("[clouds.one]") : MORE.index("[groups.all]")].replace(".one]", ".two]")
    where = run_dir / "moved"
    settings = Installation(where, "amqp://me:secret@127.0.0.1:1/v", more=MORE + former).settings
    store = open_store(settings.store.url, "state")
    bench = Bench(Runtime(settings, "resync", "resync@test:1", store))
    left = Server("id-1", "node1", "ACTIVE", cluster=CLUSTER, node="node1")
    for turn, (old, requested) in enumerate([(left, 0), (replace(left, status="SHUTOFF"), 1)]):
        snapshot = view(time.time_ns() + turn)
        used = replace(snapshot.nodes[0], state="ALLOCATED+CLOUD")
        snapshot = replace(snapshot, nodes=(used, *snapshot.nodes[1:]))
        bench.receive(*messages(snapshot))
        with store.begin() as connection:
            now = time.time_ns()
            for cloud, server in (("two", old), ("one", Server("id-2", "node1", "SHUTOFF"))):
                listing = StoredListing(cloud, snapshot.generation, now, (server,))
                snapshots.keep_listing(connection, CLUSTER, listing)
        bench.turns(0.3)
        assert len(bench.requested) == requested, bench.requested
    assert bench.notices[0].subject == "id-1"
    store.dispose()


@pytest.mark.parametrize("noted_as", ["observed", "accepted", "remembered"])
def test_a_clock_that_was_a_day_ahead_neither_hides_an_orphan_nor_delays_its_repair(
    bench: Bench, noted_as: str
) -> None:
    """It would run for as long as the clock was ahead, and no drift would name it."""
    day = time.time_ns() + 86_400 * NS
    row = {"cluster": CLUSTER, "node": "node1", "desired": "down", "generation": 1}
    with bench.run.store.begin() as connection:
        seen = {"request_id": "r", "observed_at": day if noted_as == "observed" else 1}
        connection.execute(sa.insert(tables.nodes), row | seen)
        if noted_as == "accepted":  # and lost with the broker's disk
            lost = {"cluster": CLUSTER, "request_id": "r", "round": 1, "node": "node1"}
            times = {"generation": 1, "accepted_at": day}
            connection.execute(sa.insert(tables.requests), lost | times)
        elif noted_as == "remembered":
            noted = DriftMemory("node1", Drift.ORPHAN, day, 1, day)
            drift_memory.remember(connection, CLUSTER, [noted])
    snapshot = view()
    bench.receive(*messages(snapshot))
    bench.list_cloud(snapshot.generation, RUNNING)
    if noted_as == "remembered":
        with bench.run.store.begin() as connection:
            noted = drift_memory.recall(connection, CLUSTER)["node1"]
        assert max(noted.since, noted.repaired_at) < time.time_ns()
    else:
        (command,) = bench.requested
        assert command.node == "node1"


@pytest.mark.parametrize("days", [-1, 1])
def test_a_node_that_the_slurm_worker_returns_is_not_left_down_by_a_clock_of_its_own(
    bench: Bench, days: int
) -> None:
    """The host of slurmctld is a day off: its snapshots and the slurm worker's memories have its time."""
    off = days * 86_400 * NS
    there = time.time_ns() + off
    failed = NodeMemory("node1", 1, 1, Due.RETURN, there, "quota", "lamplighter: quota", there)
    with bench.run.store.begin() as connection:
        remember(connection, CLUSTER, [failed])
    for _ in range(5):  # so many show that none was in the queue for a day
        # a clock that was set back leaves generations where they were
        snapshot = view(time.time_ns() + max(off, 0))
        down = replace(snapshot.nodes[0], state="DOWN+CLOUD+POWERED_DOWN", reason=failed.reason)
        nodes = (down, *snapshot.nodes[1:])
        snapshot = replace(snapshot, nodes=nodes, correlation_id=secrets.token_hex(16))
        bench.receive(*messages(replace(snapshot, taken=time.time_ns() + off)))
    bench.list_cloud(snapshot.generation)
    assert "3 nodes compared, 0 drifted" in bench.run.state
    assert bench.notices == []


def test_a_node_whose_boot_failed_by_a_clock_of_tomorrow_is_left_down(bench: Bench) -> None:
    """No slurm worker runs that would return it."""
    day = time.time_ns() + 86_400 * NS
    failed = NodeMemory("node1", 1, 1, Due.RETURN, day, "quota", "lamplighter: quota: none", day)
    with bench.run.store.begin() as connection:
        remember(connection, CLUSTER, [failed])
    snapshot = view()
    down = replace(snapshot.nodes[0], state="DOWN+CLOUD+POWERED_DOWN", reason=failed.reason)
    bench.receive(*messages(replace(snapshot, nodes=(down, *snapshot.nodes[1:]))))
    bench.list_cloud(snapshot.generation)
    (notice,) = bench.notices
    assert notice.message.startswith("left_down")
