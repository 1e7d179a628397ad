"""The stored snapshots, listings and drifts, and their comparison, on SQLite and PostgreSQL."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from schemas.commands import Desired, Kind
from schemas.server import NetworkAddress, Server
from schemas.snapshot import Power, SlurmNode, Snapshot
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import CORRELATION, command
from tests.testbed.statements import counted
from workers.config.tables import ResyncSettings, SlurmSettings
from workers.resync import drift_memory
from workers.resync.drift import Drift, RepairStep, ServerState
from workers.resync.drift_memory import DriftMemory
from workers.resync.plan import needing_repair, next_memories, plan, repair_requests
from workers.resync.survey import Survey, survey
from workers.slurm.node_memory import Due, NodeMemory, remember
from workers.store import holds, snapshots, tables
from workers.store.database import open_store, reading
from workers.store.holds import Hold
from workers.store.lease_owner import Lease, Owner
from workers.store.nodes import NodeTable
from workers.store.slurm_view import SlurmView, SnapshotReader
from workers.store.snapshots import StoredListing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workers.config.settings import Settings

NS = 10**9
OUT, LIT = "IDLE+CLOUD+POWERED_DOWN", "IDLE+CLOUD"
NODES = [f"node{number}" for number in range(1, 11)]
GROUPS = """
[clouds.one]
auth_url = "http://127.0.0.1:1/v3"
project_id = "p"
source = { type = "password", username = "u", password_command = ["true"] }
[clouds.two]
auth_url = "http://127.0.0.1:1/v3"
project_id = "p"
source = { type = "password", username = "u", password_command = ["true"] }
[groups.a]
nodes = "node[1-8]"
cloud = "one"
[groups.b]
nodes = "node[9-10]"
cloud = "two"
strategy = "delete"
stop_timeout = 120.0
[groups.b.server]
image = "i"
flavor = "f"
networks = ["n"]
"""
SLURM = SlurmSettings(resume_timeout=600, suspend_timeout=60)
AT_ONCE = ResyncSettings(grace=0.0, repeat_after=300.0)


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


@pytest.fixture
def settings(run_dir: Path) -> Settings:
    return Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v", more=GROUPS).settings


class Scene:
    """The stored states of Slurm, of the clouds and of requests."""

    def __init__(self, store: sa.Engine, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self.now = time.time_ns()

    def request(self, state: Kind, *nodes: str, at: int = -100) -> None:
        """Store requests that have ended; `at`: seconds from now."""
        requested = [command(n, kind=state, generation=self.now + at * NS) for n in nodes]
        with closing(Owner(self.store.url)) as owner, self.store.begin() as connection:
            lease = Lease(owner, 60.0, settling=5.0)
            table = NodeTable(self.store, CLUSTER, lease)
            table.accept(connection, requested, self.now)
            table.release(connection, nodes)

    def list_cloud(self, cloud: str, *servers: Server, generation: int | None = None) -> None:
        """Store the listing of a cloud."""
        listing = StoredListing(cloud, generation or self.now, self.now + NS, servers)
        with self.store.begin() as connection:
            snapshots.keep_listing(connection, CLUSTER, listing)

    def snapshot(self, **states: str) -> Snapshot:
        """A snapshot with these states; all other nodes are powered down."""
        nodes = tuple(SlurmNode(node, states.get(node, OUT)) for node in NODES)
        return Snapshot(CLUSTER, self.now, CORRELATION, "host", nodes)

    def survey(self, snapshot: Snapshot) -> Survey:
        with reading(self.store) as connection:
            return survey(connection, self.settings, snapshot)

    def found(self, snapshot: Snapshot) -> dict[str, tuple[Drift, RepairStep]]:
        seen = plan(self.survey(snapshot), {}, AT_ONCE, self.now)
        return {one.subject: (one.action.drift, one.action.step) for one in seen}


@pytest.fixture
def scene(store: sa.Engine, settings: Settings) -> Scene:
    return Scene(store, settings)


ADDRESSES = (NetworkAddress("private", "10.0.0.1"),)


def server(node: str, status: str, **more: Any) -> Server:  # noqa: ANN401 - its fields'
    return Server(id=f"id-{node}", name=node, status=status, **more)


def test_a_snapshot_from_before_the_stores_clock_was_set_back_is_not_fresh(
    store: sa.Engine, scene: Scene
) -> None:
    """It would stay fresh for as long as the step, and nodes would be powered off by what it says."""
    reader = SnapshotReader(store, CLUSTER, enabled=True, stale_after=60.0)

    def is_fresh() -> bool:
        view = reader.view()
        assert view is not None
        return view.fresh

    old = scene.snapshot()
    with store.begin() as connection:
        assert snapshots.keep_snapshot(connection, old)
    assert is_fresh()
    with store.begin() as connection:
        later = tables.snapshots.c.received_at + 30_000
        connection.execute(sa.update(tables.snapshots).values(received_at=later))
    assert not is_fresh()
    with store.begin() as connection:
        new = replace(old, generation=old.generation + 1)
        assert snapshots.keep_snapshot(connection, new)
    assert is_fresh()


def test_until_a_snapshot_comes_its_listings_are_not_read_again(
    store: sa.Engine, scene: Scene
) -> None:
    """Power workers look each second; after the store was away they read all again."""
    reader = SnapshotReader(store, CLUSTER, enabled=True, stale_after=60.0)
    snapshot = scene.snapshot()

    def seen() -> tuple[list[str], bool]:
        with counted(store) as statements:
            generation, late = reader.wanted(["main"])
        assert generation == snapshot.generation
        return late, any("listings" in one for one in statements)

    with store.begin() as connection:
        assert snapshots.keep_snapshot(connection, snapshot)
    assert seen() == (["main"], True)
    reader.keep("main", snapshot.generation, time.time_ns(), ())
    assert seen() == ([], True)
    assert seen() == ([], False)
    reader.doubt()
    assert seen() == ([], True)
    snapshot = replace(snapshot, generation=snapshot.generation + 1)
    with store.begin() as connection:
        assert snapshots.keep_snapshot(connection, snapshot)
    assert seen() == (["main"], True)


def test_only_a_newer_snapshot_is_stored_with_its_age_by_the_stores_clock(
    store: sa.Engine, scene: Scene
) -> None:
    first = scene.snapshot()
    later = replace(first, generation=first.generation + 1)
    with store.begin() as connection:
        assert snapshots.snapshot_age(connection, CLUSTER) is None
        assert snapshots.keep_snapshot(connection, later)
        assert not snapshots.keep_snapshot(connection, first)
        assert snapshots.keep_snapshot(connection, later)
        assert snapshots.newest(connection, CLUSTER) == later
        received = snapshots.snapshot_age(connection, CLUSTER)
    assert received is not None
    assert received.generation == later.generation
    assert received.age < 60
    view = SnapshotReader(store, CLUSTER, enabled=None, stale_after=60.0).view()
    assert view is not None
    # it came before this worker began
    assert (view.generation, view.power["node1"], view.confirmed) == (
        later.generation,
        Power.OFF,
        False,
    )
    assert SnapshotReader(store, CLUSTER, enabled=False, stale_after=60.0).view() is None
    assert SnapshotReader(store, "other", enabled=None, stale_after=60.0).view() is None


def test_listing_for_an_older_snapshot_never_replaces_a_newer_one(scene: Scene) -> None:
    scene.list_cloud("one", server("node1", "ACTIVE", addresses=ADDRESSES), generation=20)
    scene.list_cloud("one", generation=10)
    with reading(scene.store) as connection:
        (kept,) = snapshots.all_listings(connection, CLUSTER)
        assert snapshots.listed_generations(connection, CLUSTER) == {"one": 20}
    assert kept.servers == (server("node1", "ACTIVE", addresses=ADDRESSES),)


def test_holds_are_placed_and_lifted(store: sa.Engine) -> None:
    with store.begin() as connection:
        holds.place(connection, CLUSTER, [Hold("node1", "a", "me", 1), Hold("node2", "b", "me", 1)])
        holds.place(connection, CLUSTER, [Hold("node1", "c", "you", 2)])
        held = holds.all_holds(connection, CLUSTER)
        assert held == {"node1": Hold("node1", "c", "you", 1), "node2": Hold("node2", "b", "me", 1)}
        assert holds.all_holds(connection, "other") == {}
        assert holds.lift(connection, CLUSTER, ["node2", "node3"]) == ["node2"]
        assert list(holds.all_holds(connection, CLUSTER)) == ["node1"]


def test_repairs_are_requested_with_the_generation_of_the_snapshot(scene: Scene) -> None:
    scene.request(Kind.SUSPEND, "node1")
    scene.request(Kind.RESUME, "node2", "node3", "node4", "node5")
    scene.request(Kind.RESUME, "node6", at=1)  # after the snapshot
    running = [server(node, "ACTIVE") for node in ("node1", "node3", "node5", "node8")]
    scene.list_cloud("one", *running, server("node2", "SHUTOFF"), server("node4", "ERROR"))
    snapshot = scene.snapshot(
        node2=LIT,
        node4=f"{LIT}+NOT_RESPONDING",
        node5="MIXED+CLOUD",
        node6=LIT,
        node7=f"{LIT}+NOT_RESPONDING",
    )
    with scene.store.begin() as connection:
        holds.place(connection, CLUSTER, [Hold("node8", "odd", "me", 1)])
    assert scene.found(snapshot) == {
        "node1": (Drift.ORPHAN, RepairStep.SUSPEND),
        "node2": (Drift.DEAD, RepairStep.RESUME),
        "node3": (Drift.GHOST, RepairStep.SUSPEND),
        "node4": (Drift.DEAD, RepairStep.RESUME),
        "node7": (Drift.UNASKED, RepairStep.RESUME),
        "node8": (Drift.ORPHAN, RepairStep.HELD),
    }
    seen = plan(scene.survey(snapshot), {}, AT_ONCE, scene.now)
    wanted = needing_repair(seen)
    requested = repair_requests(wanted, snapshot, SLURM, "host", "resync")
    assert {one.generation for one in requested} == {snapshot.generation}
    assert [one.node for one in requested if one.desired is Desired.DOWN] == ["node1", "node3"]
    assert all(one.note and one.note.startswith("resync: ") and one.expiry for one in requested)
    again = repair_requests(wanted, snapshot, SLURM, "host", "resync")
    assert [one.id for one in requested] == [one.id for one in again]


def test_cloud_without_a_current_listing_is_unseen_and_not_empty(scene: Scene) -> None:
    scene.request(Kind.RESUME, *NODES)
    scene.list_cloud("one", *(server(node, "ACTIVE") for node in NODES))
    scene.list_cloud("two", generation=scene.now - 1)
    snapshot = scene.snapshot(**dict.fromkeys(NODES, LIT))
    seen = scene.survey(snapshot)
    assert seen.unseen == ("two",)
    assert {p.node for p in seen.nodes if p.known.seen is ServerState.UNKNOWN} == {
        "node9",
        "node10",
    }
    assert scene.found(snapshot) == {}


def test_listing_that_lost_most_of_its_nodes_is_doubted(scene: Scene) -> None:
    """Nova silently omits the servers of a cell that does not answer."""
    scene.request(Kind.RESUME, *NODES[:8])
    scene.list_cloud("two")
    snapshot = scene.snapshot(**dict.fromkeys(NODES[:8], LIT))
    scene.list_cloud("one", *(server(node, "ACTIVE") for node in NODES[:3]))
    assert scene.survey(snapshot).doubted == ("one",)
    assert scene.found(snapshot) == {}
    scene.list_cloud("one", *(server(node, "ACTIVE") for node in NODES[:4]))
    assert scene.survey(snapshot).doubted == ()
    assert set(scene.found(snapshot)) == {"node5", "node6", "node7", "node8"}


def observe(scene: Scene, node: str, status: str, at: int) -> None:
    """Store what the node's server was observed to be."""
    with closing(Owner(scene.store.url)) as owner, scene.store.begin() as connection:
        table = NodeTable(scene.store, CLUSTER, Lease(owner, 60.0, settling=5.0))
        table.observe(connection, {node: (f"id-{node}", status)}, at)


def test_node_that_was_acted_on_since_the_listing_is_not_judged(scene: Scene) -> None:
    scene.request(Kind.SUSPEND, "node1")
    scene.list_cloud("one", server("node1", "ACTIVE"))
    snapshot = scene.snapshot()
    assert set(scene.found(snapshot)) == {"node1"}
    observe(scene, "node1", "SHUTOFF", scene.now + 2 * NS)
    assert scene.found(snapshot) == {}


def test_server_with_our_tags_that_belongs_to_no_node_is_reported(
    scene: Scene,
) -> None:
    tagged: dict[str, Any] = {"cluster": CLUSTER, "node": "node99"}
    elsewhere = Server("id-x", "node9", "ACTIVE", cluster=CLUSTER, node="node9")
    foreign = Server("id-y", "db", "ACTIVE"), Server("id-z", "n", "ACTIVE", cluster="o", node="n")
    scene.list_cloud("one", replace(server("node99", "ACTIVE"), **tagged), elsewhere, *foreign)
    found = scene.found(scene.snapshot())
    assert found == {
        "id-node99": (Drift.STRAY, RepairStep.REPORT),
        "id-x": (Drift.STRAY, RepairStep.REPORT),
    }


def own(scene: Scene, node: str) -> None:
    """Store the node's server as the one that was acted on last."""
    observe(scene, node, "ACTIVE", scene.now - NS)


def test_each_of_several_servers_is_named_with_the_nodes_own(scene: Scene) -> None:
    scene.request(Kind.SUSPEND, "node1")
    own(scene, "node1")
    tagged = replace(server("node1", "ACTIVE"), cluster=CLUSTER, node="node1")
    scene.list_cloud("one", tagged, replace(tagged, id="id-second"))
    (found,) = plan(scene.survey(scene.snapshot()), {}, AT_ONCE, scene.now)
    assert (found.action.drift, found.action.step) == (Drift.AMBIGUOUS, RepairStep.REPORT)
    assert "id-node1 ACTIVE (its own), id-second ACTIVE" in found.words


@pytest.mark.parametrize("node", ["node1", "node9"])
@pytest.mark.parametrize(
    ("slurm", "status", "own_status"),
    [
        (OUT, "ACTIVE", "ACTIVE"),
        (OUT, "SHUTOFF", "SHUTOFF"),
        (LIT, "SHUTOFF", "ACTIVE"),
        # a job can run on either
        (LIT, "ACTIVE", "ACTIVE"),
        (LIT, "SHUTOFF", "SHUTOFF"),
    ],
)
def test_surplus_server_is_deleted_only_where_its_group_deletes_and_no_job_can_be_on_it(
    scene: Scene, node: str, slurm: str, status: str, own_status: str
) -> None:
    scene.request(Kind.RESUME, node)
    tagged = replace(server(node, own_status), cluster=CLUSTER, node=node)
    servers = tagged, replace(tagged, id="id-second", status=status)
    for cloud in ("one", "two"):
        scene.list_cloud(cloud, *(servers if cloud == ("one", "two")[node == "node9"] else ()))
    snapshot = scene.snapshot(**{node: slurm})
    # nobody knows yet which of them is the node's own
    assert scene.survey(snapshot).surplus == ()
    own(scene, node)
    is_safe = slurm == OUT or (status, own_status) == ("SHUTOFF", "ACTIVE")
    expected = (("two", servers[1]),) if is_safe and node == "node9" else ()
    seen = scene.survey(snapshot)
    assert seen.surplus == expected
    deletes = ResyncSettings(grace=0.0, delete_strays=True)
    steps = {one.subject: one.action.step for one in plan(seen, {}, deletes, scene.now)}
    assert steps.get("id-second") == (RepairStep.DELETE if expected else None)
    assert steps[node] is RepairStep.REPORT
    assert "id-second" not in {one.subject for one in plan(seen, {}, AT_ONCE, scene.now)}
    with scene.store.begin() as connection:
        holds.place(connection, CLUSTER, [Hold(node, "odd", "me", 1)])
    assert scene.survey(snapshot).surplus == ()


@pytest.mark.parametrize(("deletes", "repairs"), [(True, 1), (False, 0)])
def test_condemned_stray_is_spared_once_delete_strays_is_off(
    scene: Scene,
    deletes: bool,  # noqa: FBT001
    repairs: int,
) -> None:
    """Its deletion waits until no job can be on it, for days perhaps."""
    stray = replace(server("node99", "ACTIVE"), cluster=CLUSTER, node="node99")
    scene.list_cloud("one", stray)
    seen = scene.survey(scene.snapshot())
    known = {stray.id: DriftMemory(stray.id, Drift.STRAY, 1, repairs=1, repaired_at=1)}
    found = plan(seen, known, ResyncSettings(grace=0.0, delete_strays=deletes), scene.now)
    memories = next_memories(seen, known, found, (), scene.now)
    assert [one.repairs for one in memories if one.subject == stray.id] == [repairs]


def test_stuck_deletion_is_known_with_the_stop_timeout_of_its_group(scene: Scene) -> None:
    scene.request(Kind.SUSPEND, "node9")
    scene.list_cloud("two", server("node9", "ACTIVE", task="deleting"))
    (found,) = plan(scene.survey(scene.snapshot()), {}, AT_ONCE, scene.now)
    assert (found.action.drift, found.action.step) == (Drift.STUCK, RepairStep.WAIT)
    known = {"node9": DriftMemory("node9", Drift.STUCK, scene.now - 121 * NS)}
    (found,) = plan(scene.survey(scene.snapshot()), known, AT_ONCE, scene.now)
    assert (found.action.drift, found.action.step) == (Drift.STUCK, RepairStep.SUSPEND)


def test_node_that_slurm_no_longer_knows_is_powered_off_unless_slurm_lost_most_nodes(
    scene: Scene,
) -> None:
    scene.request(Kind.RESUME, "node1")
    scene.list_cloud("one", server("node1", "ACTIVE"), server("node2", "ACTIVE"))
    whole = scene.snapshot()
    without = replace(whole, nodes=whole.nodes[2:])
    assert scene.found(without) == {
        "node1": (Drift.ORPHAN, RepairStep.SUSPEND),
        # no request ever concerned it
        "node2": (Drift.NOT_UNDERSTOOD, RepairStep.REPORT),
    }
    lost = replace(whole, nodes=whole.nodes[6:])
    assert scene.found(lost)["node1"] == (Drift.NOT_UNDERSTOOD, RepairStep.REPORT)


def test_drift_is_remembered_until_it_is_gone_or_while_the_node_is_unclear(scene: Scene) -> None:
    scene.request(Kind.SUSPEND, "node1", "node2")
    scene.list_cloud("one", server("node1", "ACTIVE"), server("node2", "SHUTOFF"))
    seen = scene.survey(scene.snapshot())
    found = plan(seen, {}, AT_ONCE, scene.now)
    known = {
        "node1": DriftMemory("node1", Drift.ORPHAN, 5, 2, 6),
        "node2": DriftMemory("node2", Drift.DEAD, 5),
    }
    memories = next_memories(seen, known, plan(seen, known, AT_ONCE, scene.now), [], scene.now)
    assert memories == [known["node1"]]
    assert next_memories(seen, {}, found, found, scene.now) == [
        DriftMemory("node1", Drift.ORPHAN, scene.now, 1, scene.now)
    ]
    blind = scene.survey(replace(scene.snapshot(), generation=scene.now + 1))
    assert next_memories(blind, known, [], [], scene.now) == list(known.values())
    with scene.store.begin() as connection:
        drift_memory.remember(connection, CLUSTER, known.values())
        assert drift_memory.recall(connection, CLUSTER) == known
        drift_memory.remember(connection, CLUSTER, memories)
        assert drift_memory.recall(connection, CLUSTER) == {"node1": known["node1"]}


def test_node_is_left_down_if_its_return_is_overdue_or_not_stored(
    scene: Scene, settings: Settings
) -> None:
    """Each node failed to boot; the slurm worker will return node1, and should have returned node2."""
    overdue = int(settings.slurm.return_at_most * NS) + NS
    ours, slurms = "lamplighter: quota: none", "ResumeTimeout reached"
    reasons = {
        **dict.fromkeys(NODES[:4], ours),
        "node5": slurms,
        "node6": f"{ours} : {slurms}",
        "node7": "broken disk",
    }
    due_at = scene.now + NS
    known = [
        NodeMemory("node1", 1, 1, Due.RETURN, due_at, "quota", ours, scene.now),
        NodeMemory("node2", 1, 1, Due.RETURN, due_at, "quota", ours, scene.now - overdue),
        NodeMemory("node3", 1, 1, Due.FORGET, due_at, "quota", ours, scene.now),
    ]
    with scene.store.begin() as connection:
        remember(connection, CLUSTER, known)
    scene.list_cloud("one")
    nodes = tuple(
        SlurmNode(
            node, "DOWN+CLOUD+POWERED_DOWN" if node in reasons else OUT, reasons.get(node, "")
        )
        for node in NODES
    )
    found = scene.found(Snapshot(CLUSTER, scene.now, CORRELATION, "host", nodes))
    left = (Drift.LEFT_DOWN, RepairStep.REPORT)
    assert found == dict.fromkeys(["node2", "node3", "node4", "node5", "node6"], left)


@pytest.mark.parametrize("taken", [0.0, 9.0, 30.0])
def test_a_snapshot_is_recent_for_some_seconds_after_it_was_taken(
    store: sa.Engine, scene: Scene, taken: float
) -> None:
    """One that was delayed on its way may be fresh by its arrival: a node may have registered since."""
    snapshot = replace(scene.snapshot(), generation=time.time_ns() - int(taken * 1e9))
    with store.begin() as connection:
        assert snapshots.keep_snapshot(connection, snapshot)
    view = SnapshotReader(store, CLUSTER, enabled=None, stale_after=60.0).view()
    assert view is not None
    assert (view.fresh, view.recent) == (True, taken < 10)


@pytest.mark.parametrize(
    ("behind", "delay", "recent"), [(0.0, 0.0, True), (8.0, 0.0, True), (8.0, 12.0, False)]
)
def test_a_snapshot_that_was_delayed_is_not_recent_though_our_clock_is_behind_the_hooks(
    store: sa.Engine, scene: Scene, behind: float, delay: float, *, recent: bool
) -> None:
    """A prompt one has shown by how much the clocks differ."""
    reader = SnapshotReader(store, CLUSTER, enabled=None, stale_after=60.0)
    for late in (0.0, delay):
        generation = time.time_ns() + int((behind - late) * 1e9)
        with store.begin() as connection:
            connection.execute(sa.delete(tables.snapshots))
            snapshots.keep_snapshot(connection, replace(scene.snapshot(), generation=generation))
        view = reader.view()
    assert view is not None
    assert (view.fresh, view.recent) == (True, recent)


def test_a_snapshot_from_far_in_the_future_is_not_recent(store: sa.Engine, scene: Scene) -> None:
    ahead = replace(scene.snapshot(), generation=time.time_ns() + 3600 * 10**9)
    with store.begin() as connection:
        snapshots.keep_snapshot(connection, ahead)
    view = SnapshotReader(store, CLUSTER, enabled=None, stale_after=60.0).view()
    assert view is not None
    assert (view.fresh, view.recent) == (True, False)


@pytest.mark.parametrize(
    ("taken_at", "known"),
    [([0.0] * 5, True), ([0.0] * 4, False), ([0.0, 60.0, 120.0, 180.0, 240.0], False)],
    ids=["five agree", "too few", "a burst after an outage"],
)
@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_snapshots_show_how_far_our_clock_is_ahead_of_the_hooks(
    store: sa.Engine, scene: Scene, ahead: float, taken_at: list[float], *, known: bool
) -> None:
    """An outage holds up each one for another time; what all are old by is the clocks' difference."""
    reader = SnapshotReader(store, CLUSTER, enabled=None, stale_after=60.0)
    for taken in taken_at:
        with store.begin() as connection:
            connection.execute(sa.delete(tables.snapshots))
            generation = time.time_ns() + int((taken - ahead) * 1e9)
            snapshots.keep_snapshot(connection, replace(scene.snapshot(), generation=generation))
        view = reader.view()
    assert view is not None
    assert view.ahead == pytest.approx(ahead if known else 0.0, abs=5.0)
    assert view.recent is known


class ReadByMany(SnapshotReader):
    """While it reads a snapshot, so many others find the same one, as guards of calls do on their threads."""

    others = 5

    def _read(self, connection: sa.Connection) -> SlurmView | None:
        if self.others:
            self.others -= 1
            self.view()
        return super()._read(connection)


def test_one_late_snapshot_is_no_difference_of_the_clocks_however_many_threads_read_it(
    store: sa.Engine, scene: Scene
) -> None:
    """It was taken 30 s ago: a node may have registered since, and have a job."""
    reader = ReadByMany(store, CLUSTER, enabled=None, stale_after=60.0)
    late = replace(scene.snapshot(), generation=time.time_ns() - 30 * NS)
    with store.begin() as connection:
        snapshots.keep_snapshot(connection, late)
    view = reader.view()
    assert view is not None
    assert (view.ahead, view.recent) == (0.0, False)


def test_a_server_that_its_nodes_own_cloud_lists_too_is_no_stray(scene: Scene) -> None:
    """Two clouds can be one project: with delete_strays, all nodes that are off would lose their servers."""
    tagged = replace(server("node1", "SHUTOFF"), cluster=CLUSTER, node="node1")
    scene.list_cloud("two", tagged)
    scene.list_cloud("one", tagged)
    assert scene.survey(scene.snapshot()).strays == ()
    scene.list_cloud("one")
    assert scene.survey(scene.snapshot()).strays == (("two", tagged),)
