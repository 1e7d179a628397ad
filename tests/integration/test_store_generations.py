"""Generations from the future are lowered in the store, on SQLite and PostgreSQL; their order stays."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.commands import Kind
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.installation import CLUSTER
from tests.testbed.messages import CORRELATION, command
from workers.store import generations, group_images, requests, snapshots, tables
from workers.store.database import open_store
from workers.store.generations import ClockLimit
from workers.store.group_images import GroupImage
from workers.store.lease_owner import Lease, Owner
from workers.store.nodes import NodeTable
from workers.store.requests import Round
from workers.store.snapshots import StoredListing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.commands import PowerCommand

NS = 10**9
HOUR = 3600 * NS
ORDERED = {
    (table.name, column.name)
    for table in tables.STATE.tables.values()
    for column in table.columns
    if column.name in {"generation", "reached", "booted", "boot_from", "off_asked"}
}


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def table(connection: sa.Connection, owner: Owner) -> NodeTable:
    return NodeTable(connection.engine, CLUSTER, Lease(owner, 60.0, settling=5.0))


def accept(connection: sa.Connection, owner: Owner, *commands: PowerCommand) -> dict[str, int]:
    """Accept requests; the generation of each node's row."""
    rows = table(connection, owner).accept(connection, commands, time.time_ns())
    return {node: row.generation for node, row in rows.items()}


def test_every_column_that_orders_is_lowered() -> None:
    lowered = {
        (table.name, name) for table, names in generations._ORDERED.items() for name in names
    }
    apart = {("snapshots", "generation"), ("listings", "generation")}
    assert lowered | apart == ORDERED


def test_a_request_after_the_reset_is_newer_than_everything_before(store: sa.Engine) -> None:
    now = time.time_ns()
    old = command("node1", kind=Kind.RESUME, generation=now - HOUR)
    first = command("node2", kind=Kind.SUSPEND, generation=now + HOUR)
    second = command("node3", kind=Kind.SUSPEND, generation=now + 2 * HOUR)
    with closing(Owner(store.url)) as owner:
        with store.begin() as connection:
            accept(connection, owner, old, first, second)
            rounds = [Round(c.id, 1, c.node, c.generation, now) for c in (old, first, second)]
            requests.open_rounds(connection, CLUSTER, rounds)
            table(connection, owner).mark_booted(connection, {"node3": now + HOUR})
            table(connection, owner).mark_reached(connection, {"node2": first.generation})
            late = {"node2": ("id-2", "SHUTOFF")}
            table(connection, owner).observe(connection, late, now + HOUR)
            image = GroupImage("all", "image", "name", "node2", "bake", now + HOUR, now)
            group_images.keep(connection, CLUSTER, [image])
            assert generations.highest(connection, CLUSTER) == second.generation
            assert generations.open_rounds_after(connection, CLUSTER, now) == 2
            done = generations.lower(connection, CLUSTER, now)
            assert generations.highest(connection, CLUSTER) == done == now + 2
            assert generations.open_rounds_after(connection, CLUSTER, now + 2) == 0
            rows = {row.node: row for row in connection.execute(sa.select(tables.nodes))}
            assert rows["node1"].generation == old.generation
            assert (rows["node2"].generation, rows["node2"].reached) == (now + 1, now + 1)
            assert (rows["node3"].generation, rows["node3"].booted) == (now + 2, now + 1)
            assert rows["node2"].observed_at == now
            assert group_images.by_group(connection, CLUSTER)["all"].generation == now + 1
            ordered = connection.scalars(
                sa.select(tables.requests.c.node).order_by(tables.requests.c.generation)
            )
            assert list(ordered) == ["node1", "node2", "node3"]
        with store.begin() as connection:
            newer = command("node2", kind=Kind.RESUME, generation=done + 1)
            assert accept(connection, owner, newer) == {"node2": done + 1}


def test_a_snapshot_from_the_future_makes_room_for_the_next_and_confirms_nothing(
    store: sa.Engine,
) -> None:
    now = time.time_ns()
    future = Snapshot(CLUSTER, now + HOUR, CORRELATION, "host", (SlurmNode("node1", "IDLE"),))
    next_one = Snapshot(CLUSTER, now + 1, CORRELATION, "host", future.nodes)
    with store.begin() as connection:
        snapshots.keep_snapshot(connection, future)
        listing = StoredListing("one", future.generation, now, ())
        snapshots.keep_listing(connection, CLUSTER, listing)
        assert not snapshots.keep_snapshot(connection, next_one)
        generations.lower(connection, CLUSTER, now)
        kept = snapshots.newest(connection, CLUSTER)
        assert kept is not None
        assert (kept.generation, kept.nodes) == (1, future.nodes)
        assert snapshots.listed_generations(connection, CLUSTER) == {}
        assert snapshots.keep_snapshot(connection, next_one)


def test_what_was_stamped_before_a_reset_is_refused_until_that_time_has_come(
    store: sa.Engine,
) -> None:
    now = time.time_ns()
    with store.begin() as connection:
        usual = ClockLimit(now + 300 * 10**9)
        assert generations.clock_limit(connection, CLUSTER, 300.0, now) == usual
        for until in (now + HOUR, now + 2 * HOUR):
            generations.refuse_stamped_before(connection, CLUSTER, now, until)
        refused = ClockLimit(now + 5 * 10**9, is_after_reset=True)
        assert generations.clock_limit(connection, CLUSTER, 300.0, now) == refused
        later = generations.clock_limit(connection, CLUSTER, 300.0, now + 2 * HOUR)
        assert later == ClockLimit(now + 2 * HOUR + 300 * 10**9)
        assert generations.clock_limit(connection, "other", 300.0, now) == usual


@pytest.mark.parametrize("shown_by", ["a snapshot", "a node's row"])
def test_the_store_shows_how_far_the_hooks_clock_has_come(store: sa.Engine, shown_by: str) -> None:
    """Its file keeps a time that was too late; what is stamped next is above that, not above the time."""
    now = time.time_ns()
    ahead = now + HOUR
    with store.begin() as connection:
        if shown_by == "a snapshot":
            nodes = (SlurmNode("node1", "IDLE"),)
            snapshots.keep_snapshot(
                connection, Snapshot(CLUSTER, ahead, CORRELATION, "host", nodes)
            )
        else:
            with closing(Owner(store.url)) as owner:
                accept(connection, owner, command("node1", generation=ahead))
        limit = generations.clock_limit(connection, CLUSTER, 300.0, now)
        assert limit == ClockLimit(ahead + 300 * 10**9)
        assert generations.clock_limit(connection, "other", 300.0, now).until < ahead
