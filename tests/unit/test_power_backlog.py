"""A backlog of suspends: a job waits for a resume, and nobody for a suspend."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import event_from
from tests.testbed.deliveries import RecordingLink, delivery, outbox_on
from tests.testbed.installation import CLUSTER, ONE_GROUP, Installation
from tests.testbed.instant import InstantCloud, InstantLink, engine_on
from tests.testbed.requests import resume, suspend
from tests.testbed.stores import STORES
from tests.testbed.waiting import until
from workers.broker.topology import EVENTS
from workers.power.backlog import QUEUES
from workers.power.metrics import PowerMetrics
from workers.power.publisher import Publisher
from workers.power.reception import Reception
from workers.power.state import EngineState
from workers.store.database import open_store, reading
from workers.store.lease_owner import Lease, Owner
from workers.store.overview import open_requests
from workers.store.power_store import Accepted, PowerStore
from workers.store.slurm_view import SlurmView, SnapshotReader

if TYPE_CHECKING:
    from pathlib import Path

    from producers.message import Message
    from schemas.commands import PowerCommand
    from workers.broker.delivery import Delivery
    from workers.power.engine import Engine

NS = 10**9
NODES = [f"main{number}" for number in range(1, 701)]


def test_a_resume_overtakes_a_backlog_of_suspends_and_none_of_them_is_lost(run_dir: Path) -> None:
    """The first turn accepts the resume with few of the suspends that came before it."""
    acked: list[Delivery] = []
    accepted: list[str] = []

    def published(message: Message) -> None:
        if message.routing_key == "node.request.accepted":
            accepted.append(message.body.decode())

    link = InstantLink(on_publish=published, on_ack=acked.append)
    with engine_on(run_dir, link, InstantCloud(NODES), nodes=len(NODES)) as engine:
        engine.turn()
        asked = [delivery(suspend(name)) for name in NODES[:-1]] + [delivery(resume(NODES[-1]))]
        for one in asked:
            engine.deliver(one)
        engine.turn()
        assert any(f'"subject":"{NODES[-1]}"' in body for body in accepted)
        assert len(accepted) <= 250

        def ended() -> bool:
            engine.turn()
            return len(acked) >= len(asked)

        until(ended, 30, "all to end", interval=0)
    assert {one.tag for one in acked} == {one.tag for one in asked}
    assert len(accepted) == len(asked)


def test_suspends_of_a_lost_connection_wait_no_more_because_they_come_again(run_dir: Path) -> None:
    """Each of them is accepted once over the new connection, and acknowledged there."""
    acked: list[Delivery] = []
    link = InstantLink(on_ack=acked.append)
    with engine_on(run_dir, link, InstantCloud(NODES), nodes=len(NODES)) as engine:
        commands = [suspend(name) for name in NODES]
        engine.connected(1)
        for command in commands:
            engine.deliver(delivery(command, connection=1))
        engine.turn()
        engine.connected(2)
        for command in commands:
            engine.deliver(delivery(command, connection=2))

        def ended() -> bool:
            engine.turn()
            return len({one.tag for one in acked if one.connection == 2}) == len(NODES)

        until(ended, 30, "all to end", interval=0)
    assert sum(one.connection == 2 for one in acked) == len(NODES)
    assert sum(one.connection == 1 for one in acked) <= 250


def late(command: PowerCommand) -> Delivery:
    """That a hook called a minute ago, delivered for the first time."""
    called = command.generation - 60 * NS
    return delivery(replace(command, generation=called, called=called))


class BacklogBroker:
    """The work queues, of which a worker holds `prefetch` deliveries each until it acknowledges them.

    Attributes:
        acked: those that were.
        ends: how many terminal events each request got.
    """

    def __init__(self, everything: list[Delivery], prefetch: int) -> None:
        self.acked: list[Delivery] = []
        self.ends: Counter[str] = Counter()
        self.link = InstantLink(
            self._published, self.acked.append, lambda queue: len(self._left[queue])
        )
        self._left = {queue: [one for one in everything if one.queue == queue] for queue in QUEUES}
        self._free = dict.fromkeys(QUEUES, prefetch)

    def _published(self, message: Message) -> None:
        if message.exchange == EVENTS:
            event = event_from(parse(message.body))
            self.ends[event.request_id] += event.transition.terminal

    def turn(self, engine: Engine) -> None:
        """Deliver what may be delivered, and let the engine take a turn."""
        for queue, free in self._free.items():
            for one in self._left[queue][:free]:
                engine.deliver(one)
            del self._left[queue][:free]
        before = len(self.acked)
        engine.turn()
        self._free = dict(Counter(one.queue for one in self.acked[before:]))


@pytest.mark.parametrize("last", [Kind.RESUME, Kind.SUSPEND])
def test_a_backlog_of_many_requests_a_node_is_carried_out_by_at_most_one_call_a_node(
    run_dir: Path, last: Kind
) -> None:
    """Each queue's prefetch is smaller than the backlog, and its newest requests come last."""
    names, everything = NODES[:50], []
    for number in range(20, 0, -1):
        ask = resume if (last is Kind.RESUME) == bool(number % 2) else suspend
        everything += [late(ask(name)) for name in names]
    broker, cloud = BacklogBroker(everything, prefetch=250), InstantCloud(names)
    with engine_on(run_dir, broker.link, cloud, nodes=len(names)) as engine:

        def ended() -> bool:
            broker.turn(engine)
            return len(broker.acked) >= len(everything)

        until(ended, 60, "all to end", interval=0)
    assert cloud.calls == ({"os-start": len(names)} if last is Kind.RESUME else {})
    assert {one.tag for one in broker.acked} == {one.tag for one in everything}
    assert Counter(broker.ends.values()) == {1: len(everything)}


def test_a_node_that_slurm_asks_for_now_does_not_wait_for_the_end_of_a_backlog(
    run_dir: Path,
) -> None:
    """Also while the broker has more than one connection holds."""
    names = NODES[:9]
    cloud = InstantCloud(names)
    with engine_on(run_dir, InstantLink(ready=lambda _: 1000), cloud) as engine:
        engine.deliver(late(resume(names[0])))
        for name in names[1:]:
            engine.deliver(late(suspend(name)))
            engine.deliver(delivery(resume(name)))

        def called() -> bool:
            engine.turn()
            return cloud.calls["os-start"] >= len(names) - 1

        until(called, 30, "the calls", interval=0)
        assert cloud.calls == {"os-start": len(names) - 1}


class AwayStore(PowerStore):
    """A store that is away."""

    def __init__(self) -> None:
        """It opens nothing."""

    def accept(self, *_: object) -> Accepted:
        raise TimeoutError("the store is away")


def test_a_suspend_waits_from_its_arrival_on_also_in_the_backlog(run_dir: Path) -> None:
    """The store comes back after 30 s: slurmctld may have forgotten its call, and given the node a job."""
    settings = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v").settings
    metrics = PowerMetrics(CollectorRegistry())
    publisher = Publisher(outbox_on(RecordingLink()), CLUSTER, metrics)
    engine = open_store(settings.store.url, "state")
    snapshots = SnapshotReader(engine, CLUSTER, enabled=False, stale_after=60.0)
    reception = Reception(settings, EngineState(), AwayStore(), snapshots, publisher)
    reception.receive(delivery(suspend("main1")))
    come = time.monotonic()
    until(lambda: time.monotonic() > come, 5, "time to pass")
    with pytest.raises(TimeoutError):
        reception.turn()
    engine.dispose()
    [request] = reception.arrived
    assert request.since <= come


class HooksBehind(SnapshotReader):
    """Snapshots have shown that our clock is an hour ahead of the hooks'."""

    def __init__(self) -> None:
        """It opens nothing."""
        self.ahead = 3600 * NS

    def view(self) -> SlurmView:
        return SlurmView(1, {}, confirmed=True, ahead=self.ahead / NS)


def test_slurm_waits_for_a_boot_though_by_our_clock_that_is_an_hour_ahead_it_does_not(
    run_dir: Path,
) -> None:
    """A server that still runs, because its suspend was late, must boot, or Slurm ignores its slurmd."""
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v", more=ONE_GROUP)
    settings = site.settings
    engine = open_store(STORES.url(run_dir / "state.db"), "state")
    publisher = Publisher(outbox_on(RecordingLink()), CLUSTER, PowerMetrics(CollectorRegistry()))
    with closing(Owner(engine.url)) as owner:
        store = PowerStore(engine, CLUSTER, Lease(owner, 60.0, settling=20.0))
        reception = Reception(settings, EngineState(), store, HooksBehind(), publisher)
        asked = resume("node1", after=-3600.0)
        reception.receive(delivery(replace(asked, expiry=asked.generation + 600 * NS)))
        reception.turn()
        assert store.read_one("node1").boot_due
        with reading(engine) as connection:
            (round_,) = open_requests(connection, CLUSTER)
    engine.dispose()
    # resync compares it with its own time: an hour ago, it would take the request for a lost one
    assert time.time_ns() - round_.accepted_at < 60 * NS


def test_a_call_just_made_whose_generation_is_an_hour_ahead_waits_for_a_snapshot(
    run_dir: Path,
) -> None:
    """Its clock was set back; its age says nothing of that. Ended, it would be lost."""
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v", more=ONE_GROUP)
    engine = open_store(STORES.url(run_dir / "state.db"), "state")
    link = RecordingLink()
    publisher = Publisher(outbox_on(link), CLUSTER, PowerMetrics(CollectorRegistry()))
    with closing(Owner(engine.url)) as owner:
        store = PowerStore(engine, CLUSTER, Lease(owner, 60.0, settling=20.0))
        reception = Reception(site.settings, EngineState(), store, HooksBehind(), publisher)
        asked = resume("node1", after=3600.0)
        reception.receive(delivery(replace(asked, called=time.time_ns())))
        reception.turn()
    engine.dispose()
    keys = [message.routing_key for message in link.published]
    assert any("parked" in key for key in keys), keys
    assert not any("failed" in key for key in keys), keys
