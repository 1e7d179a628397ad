"""The resync worker fails closed: what it cannot see, or believe, it does not touch; and it says so."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from producers.snapshot import messages
from schemas.commands import PowerCommand, parse_command
from schemas.envelope import parse
from schemas.events import Notice, notice_from
from schemas.server import Server
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.deliveries import RecordingLink, delivery
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import CORRELATION
from tests.testbed.waiting import until
from workers.broker import topology
from workers.process.runtime import Runtime
from workers.resync.worker import ResyncWorker
from workers.store import snapshots
from workers.store.database import open_store
from workers.store.snapshots import StoredListing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from producers.message import Message

NS = 10**9
MORE = """
[slurm]
snapshot_interval = 0.2
[resync]
enabled = true
grace = 0
stale_after = 4.0
[clouds.one]
auth_url = "http://127.0.0.1:1/v3"
project_id = "p"
source = { type = "password", username = "u", password_command = ["true"] }
[groups.all]
nodes = "node[1-3]"
cloud = "one"
"""


class Confirming(RecordingLink):
    """A broker that confirms at once."""

    is_up = True

    def publish(self, message: Message) -> Future[None]:
        future = super().publish(message)
        self.answer_all()
        return future


class Bench:
    """The worker, its store, and what it has published."""

    def __init__(self, run: Runtime) -> None:
        self.run = run
        self.link = Confirming()
        self.resync = ResyncWorker(run, self.link.link)

    def says(self, *parts: Message) -> None:
        """A snapshot's parts come in."""
        for part in parts:
            self.resync.deliver(delivery(part.body))
            self.resync.turn()

    def lists(self, generation: int, *servers: Server) -> None:
        """The cloud is listed for a snapshot."""
        with self.run.store.begin() as connection:
            listing = StoredListing("one", generation, time.time_ns(), servers)
            snapshots.keep_listing(connection, CLUSTER, listing)
        self.resync.turn()

    def turns(self, seconds: float) -> None:
        """Let it turn for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.resync.turn()

    def turned_notices(self) -> list[Notice]:
        """The notices after one more turn."""
        self.resync.turn()
        return self.notices

    @property
    def asked(self) -> list[PowerCommand]:
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


BURNS = Server("id-1", "node1", "ACTIVE")


def test_an_orphan_is_put_out_once_all_parts_and_the_listing_are_there(bench: Bench) -> None:
    snapshot = view()
    first, second = messages(snapshot, 2)
    bench.says(first)
    bench.lists(snapshot.generation, BURNS)
    assert bench.asked == []
    bench.says(second)
    (asked,) = bench.asked
    assert (asked.node, asked.generation) == ("node1", snapshot.generation)
    assert len(bench.link.acked) == 2
    assert "1 differ" in bench.run.state


def test_a_snapshot_is_not_compared_with_an_older_listing(bench: Bench) -> None:
    snapshot = view()
    bench.lists(snapshot.generation - 1, BURNS)
    bench.says(*messages(snapshot))
    bench.turns(0.4)
    assert bench.asked == []
    assert "not listed: one" in bench.run.state


def test_a_part_that_is_lost_costs_one_snapshot(bench: Bench) -> None:
    lost, snapshot = view(), replace(view(), correlation_id="f" * 32)
    bench.says(next(messages(lost, 2)), *messages(snapshot, 2))
    bench.lists(snapshot.generation, BURNS)
    assert [asked.generation for asked in bench.asked] == [snapshot.generation]


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        next(messages(view(time.time_ns() + 86_400 * NS))).body,
        next(messages(view(time.time_ns() - 3600 * NS))).body,
        next(messages(replace(view(), cluster="other"))).body,
    ],
)
def test_what_cannot_be_read_or_believed_is_passed_over(bench: Bench, body: bytes) -> None:
    bench.resync.deliver(delivery(body))
    bench.resync.turn()
    assert len(bench.link.acked) == 1
    with bench.run.store.begin() as connection:
        assert snapshots.received(connection, CLUSTER) is None


@pytest.mark.slow
def test_when_no_snapshot_comes_any_more_it_is_said_once(bench: Bench) -> None:
    bench.says(*messages(view()))
    until(bench.turned_notices, 20, "an alarm")
    bench.turns(1.5)
    assert [notice.name for notice in bench.notices] == ["alarm.no_snapshot"]
    assert "nothing is repaired" in bench.run.state
    assert bench.asked == []


def test_a_stray_is_reported_once_and_left_alone(bench: Bench) -> None:
    stray = Server("id-9", "old", "ACTIVE", cluster=CLUSTER, node="node9")
    for _ in range(2):
        snapshot = view()
        bench.says(*messages(snapshot))
        bench.lists(snapshot.generation, stray)
    (notice,) = bench.notices
    assert (notice.name, notice.subject) == ("alarm.drift", "id-9")
    assert bench.asked == []


def test_a_whole_site_that_differs_is_told_in_few_words(bench: Bench) -> None:
    snapshot = view()
    bench.says(*messages(snapshot))
    strays = [
        Server(f"id-{i}", f"old{i}", "ACTIVE", cluster=CLUSTER, node=f"old{i}") for i in range(50)
    ]
    bench.lists(snapshot.generation, *strays)
    *each, rest = bench.notices
    assert len(each) == 20
    assert rest.message == "30 more differ"
