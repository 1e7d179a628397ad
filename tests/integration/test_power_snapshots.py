"""The power worker and Slurm's snapshots, and nodes on hold, on a real broker and store."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.commands import Kind, PowerCommand
from schemas.events import Transition
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.installation import CLUSTER
from tests.testbed.messages import CORRELATION, command
from tests.testbed.powerbench import NODES
from tests.testbed.requests import resume, starts, stops, suspend
from tests.testbed.simcloud.settings import ServerSpec
from tests.testbed.waiting import until
from workers.power.admit import DISAGREES, UNCONFIRMED
from workers.resync import drift_memory
from workers.resync.drift import Drift
from workers.resync.drift_memory import DriftMemory
from workers.store import holds, snapshots, tables
from workers.store.database import reading
from workers.store.holds import Hold
from workers.store.slurm_view import SnapshotReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.testbed.powerbench import PowerBench
    from tests.testbed.simcloud.handle import SimCloud

# The SDK warns of deprecated parts of itself that it still uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
ACCEPTED, PARKED = Transition.ACCEPTED, Transition.PARKED
COMPLETED, SUPERSEDED = Transition.COMPLETED, Transition.SUPERSEDED
OUT, LIT = "IDLE+CLOUD+POWERED_DOWN", "IDLE+CLOUD"
NS = 10**9


@pytest.fixture
def bench(open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud) -> PowerBench:
    """With snapshots, of which none has come; main1 is lit."""
    power_cloud.set_power("main1", on=True)
    opened = open_power_bench(resync="enabled = true")
    until(
        lambda: "suspends wait for a snapshot" in opened.engine.state, 20, "the engine's first turn"
    )
    return opened


def takes(bench: PowerBench, **states: str) -> int:
    """Slurm's view comes into the store: these, all others out; its generation."""
    generation = time.time_ns()
    nodes = tuple(SlurmNode(node, states.get(node, OUT)) for node in NODES)
    with bench.store.begin() as connection:
        snapshot = Snapshot(CLUSTER, generation, CORRELATION, "host", nodes)
        assert snapshots.keep_snapshot(connection, snapshot)
    return generation


def test_a_snapshot_is_as_old_as_its_time_says_not_its_generation(bench: PowerBench) -> None:
    """After the hooks' clock was set back, one that was held up on its way would seem to be new."""
    reader = SnapshotReader(bench.store, CLUSTER, enabled=True, stale_after=60.0)
    for late in (False, True):
        generation = time.time_ns()
        taken = generation - (15 * NS if late else 0)
        with bench.store.begin() as connection:
            snapshot = Snapshot(CLUSTER, generation, CORRELATION, "host", (), taken=taken)
            assert snapshots.keep_snapshot(connection, snapshot)
        view = reader.view()
        assert view is not None
        assert (view.recent, view.time) == (not late, taken // 1000 * 1000)


def expired(asked: PowerCommand) -> PowerCommand:
    return replace(asked, expiry=time.time_ns() - NS)


def test_nothing_is_put_out_before_a_snapshot_has_vouched_for_the_store(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    """An empty or restored store; what lights nodes needs no snapshot."""
    down, up = suspend(), resume("main2")
    bench.ask(down, up)
    bench.saw(down, PARKED)
    assert bench.ending(up).transition is COMPLETED
    assert stops(power_cloud) == 0
    takes(bench, main1=OUT)
    assert bench.ending(down).transition is COMPLETED
    assert stops(power_cloud) == 1
    bench.idle()


def test_a_late_suspend_waits_for_slurms_word_and_ends_when_slurm_has_gone_back_on_it(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    takes(bench, main1=OUT)
    down = expired(suspend())
    bench.ask(down)
    bench.saw(down, PARKED)
    parked = [told for told in bench.events(down) if told.transition is PARKED]
    assert [told.cause and told.cause.error for told in parked] == [UNCONFIRMED]
    generation = takes(bench, main1=LIT)
    told = bench.ending(down)
    assert told.transition is SUPERSEDED
    assert told.cause is not None
    assert told.cause.error == DISAGREES
    assert str(generation) in told.cause.message
    assert stops(power_cloud) == 0
    assert bench.transitions(down) == [ACCEPTED, PARKED, SUPERSEDED]
    bench.idle()


def test_a_late_suspend_is_acted_upon_when_slurm_agrees(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    down = expired(suspend())
    takes(bench, main1="IDLE+CLOUD+POWERING_DOWN")
    bench.ask(down)
    assert bench.ending(down).transition is COMPLETED
    assert stops(power_cloud) == 1


@pytest.mark.parametrize("wanted", [False, True])
def test_a_resume_that_rests_boots_nothing_once_slurm_has_asked_to_power_the_node_off(
    bench: PowerBench,
    power_cloud: SimCloud,
    wanted: bool,  # noqa: FBT001
) -> None:
    """The suspend waits for a snapshot; a node that boots meanwhile could register, and get a job."""
    power_cloud.outage(on=True, services=("compute",))
    up, other = resume("main2"), resume("main3")
    bench.ask(up, other)
    bench.saw(up, PARKED)
    down = suspend("main2", after=0.001)
    bench.ask(down)
    bench.saw(down, PARKED)
    power_cloud.outage(on=False)
    assert bench.ending(other).transition is COMPLETED
    takes(bench, main2="IDLE+CLOUD+POWERING_UP" if wanted else OUT)
    assert bench.ending(down).transition is (SUPERSEDED if wanted else COMPLETED)
    assert bench.ending(up).transition is (COMPLETED if wanted else SUPERSEDED)
    assert starts(power_cloud) == (2 if wanted else 1)
    bench.idle()


def test_a_resume_fail_stops_the_server_once_a_newer_snapshot_agrees(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    """The node may have registered after all: an older snapshot does not know."""
    takes(bench, main1="DOWN+CLOUD+NOT_RESPONDING+POWERED_DOWN")
    failed = command("main1", kind=Kind.RESUME_FAIL, generation=time.time_ns())
    bench.ask(replace(failed, expiry=None))
    bench.saw(failed, PARKED)
    assert stops(power_cloud) == 0
    takes(bench, main1="DOWN+CLOUD+NOT_RESPONDING+POWERED_DOWN")
    assert bench.ending(failed).transition is COMPLETED
    assert power_cloud.servers()["main1"].status == "SHUTOFF"


def test_a_resume_fail_of_a_node_that_slurm_took_back_is_superseded(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    """It registered after ResumeTimeout, and a job runs there (ReturnToService=2)."""
    takes(bench, main1="DOWN+CLOUD+NOT_RESPONDING+POWERED_DOWN")
    failed = command("main1", kind=Kind.RESUME_FAIL, generation=time.time_ns())
    bench.ask(replace(failed, expiry=None))
    bench.saw(failed, PARKED)
    takes(bench, main1="MIXED+CLOUD")
    assert bench.ending(failed).transition is SUPERSEDED
    assert stops(power_cloud) == 0


def test_a_late_repair_of_a_server_in_error_ends_nothing_where_the_slurmd_answers_again(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    """Nova's ERROR was that of a migration that failed: the server still runs the node's job."""
    power_cloud.change_servers("main1", status="ERROR", fault="migration failed")
    power_cloud.change_servers("main2", status="ERROR", fault="lost its disk")
    silent = takes(bench, main1="MIXED+CLOUD+NOT_RESPONDING", main2="MIXED+CLOUD+NOT_RESPONDING")
    wrong, right = (
        replace(command(node, generation=silent), repair=True) for node in ("main1", "main2")
    )
    takes(bench, main1="MIXED+CLOUD", main2="MIXED+CLOUD+NOT_RESPONDING")
    bench.ask(wrong, right)
    told = bench.ending(wrong)
    assert (told.transition, told.actions) == (SUPERSEDED, ())
    assert told.cause is not None
    assert (told.cause.error, told.cause.message) == (
        DISAGREES,
        "a job may run: its slurmd answers",
    )
    assert [one.action for one in bench.ending(right).actions] == ["reboot"]
    assert power_cloud.servers()["main1"].status == "ERROR"
    bench.idle()


def test_a_late_suspend_of_a_node_that_slurm_no_longer_knows_powers_it_off(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    """No job can run there; the request must not wait for ever."""
    takes(bench, main1=OUT)
    down = expired(suspend())
    bench.ask(down)
    bench.saw(down, PARKED)
    nodes = tuple(SlurmNode(node, OUT) for node in NODES if node != "main1")
    with bench.store.begin() as connection:
        taken = Snapshot(CLUSTER, time.time_ns(), CORRELATION, "host", nodes)
        assert snapshots.keep_snapshot(connection, taken)
    assert bench.ending(down).transition is COMPLETED
    assert power_cloud.servers()["main1"].status == "SHUTOFF"


def test_each_snapshot_has_each_cloud_listed_once_and_a_cloud_that_is_away_is_not_there(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    def listed() -> int:
        with reading(bench.store) as connection:
            return snapshots.listed_generations(connection, CLUSTER).get("main", 0)

    generation = takes(bench)
    until(lambda: listed() == generation, 20, "the cloud to be listed")
    with reading(bench.store) as connection:
        (listing,) = snapshots.all_listings(connection, CLUSTER)
    assert {s.name: s.status for s in listing.servers}["main1"] == "ACTIVE"
    assert {server.name for server in listing.servers} == set(NODES)
    assert listing.requested_at > generation
    assert power_cloud.counts()["list_detail"] == 1

    power_cloud.outage(on=True)
    takes(bench)
    until(lambda: "away" in bench.engine.state, 20, "the cloud to be away")
    assert listed() == generation
    power_cloud.outage(on=False)
    newest = takes(bench)
    until(lambda: listed() == newest, 20, "the cloud to be listed again")


def test_a_condemned_stray_is_deleted_by_its_id_and_a_nodes_server_never(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    """Whoever has condemned a node's server has read an older configuration."""
    tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "old1"}
    (stray,) = power_cloud.add_servers([ServerSpec(name="old1", metadata=tags)])
    own = power_cloud.servers()["main2"]
    with bench.store.begin() as connection:
        known = [DriftMemory(s.id, Drift.STRAY, 1, repairs=1) for s in (stray, own)]
        drift_memory.remember(connection, CLUSTER, known)
    takes(bench)
    until(lambda: "old1" not in power_cloud.servers(), 20, "the stray to be deleted")
    takes(bench)
    until(lambda: power_cloud.counts()["list_detail"] >= 2, 20, "another listing")
    assert power_cloud.counts()["delete"] == 1
    assert "main2" in power_cloud.servers()


def test_a_server_that_two_clouds_of_one_project_list_is_not_deleted_as_the_stray_of_one(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    """It is off, as each node without a job: nothing else would keep it."""
    tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "twin1"}
    (own,) = power_cloud.add_servers([ServerSpec(name="twin1", metadata=tags)])
    bench = open_power_bench({"twin": power_cloud}, resync="enabled = true")

    def condemn(*ids: str) -> None:
        before = power_cloud.counts().get("list_detail", 0)
        nodes = *NODES, "twin1"
        with bench.store.begin() as connection:
            known = [DriftMemory(id_, Drift.STRAY, 1, repairs=1) for id_ in ids]
            drift_memory.remember(connection, CLUSTER, known)
            off = tuple(SlurmNode(node, OUT) for node in nodes)
            taken = Snapshot(CLUSTER, time.time_ns(), CORRELATION, "host", off)
            assert snapshots.keep_snapshot(connection, taken)
        until(lambda: power_cloud.counts().get("list_detail", 0) >= before + 2, 20, "both listings")

    for _ in range(3):
        condemn(own.id)
    gone = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "old1"}
    (stray,) = power_cloud.add_servers([ServerSpec(name="old1", metadata=gone)])
    condemn(own.id, stray.id)
    until(lambda: "old1" not in power_cloud.servers(), 20, "the stray to be deleted")
    assert "twin1" in power_cloud.servers()


def test_a_condemned_stray_stays_while_its_node_may_run_a_job_or_is_held(
    bench: PowerBench, power_cloud: SimCloud
) -> None:
    """Its node was moved to another cloud, or taken out of lamplighter.toml, while it was in use."""
    tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "old1"}
    (stray,) = power_cloud.add_servers([ServerSpec(name="old1", metadata=tags)])

    def shows(*known: SlurmNode) -> None:
        before = power_cloud.counts().get("list_detail", 0)
        nodes = (*(SlurmNode(node, OUT) for node in NODES), *known)
        with bench.store.begin() as connection:
            drift_memory.remember(
                connection, CLUSTER, [DriftMemory(stray.id, Drift.STRAY, 1, repairs=1)]
            )
            taken = Snapshot(CLUSTER, time.time_ns(), CORRELATION, "host", nodes)
            assert snapshots.keep_snapshot(connection, taken)
        until(lambda: power_cloud.counts().get("list_detail", 0) > before, 20, "a listing")

    for state in (LIT, "MIXED+CLOUD", "IDLE+CLOUD+POWERING_DOWN", "DOWN+CLOUD"):
        shows(SlurmNode("old1", state))
    with bench.store.begin() as connection:
        holds.place(connection, CLUSTER, [Hold("old1", "odd", "me", 1)])
    shows(SlurmNode("old1", OUT))
    with bench.store.begin() as connection:
        holds.lift(connection, CLUSTER, ["old1"])
        row = {"cluster": CLUSTER, "node": "old1", "desired": "up", "request_id": "r"}
        newer = time.time_ns() + 600 * NS
        connection.execute(sa.insert(tables.nodes).values(**row, generation=newer))
    shows(SlurmNode("old1", OUT))
    assert power_cloud.counts().get("delete", 0) == 0
    with bench.store.begin() as connection:
        connection.execute(sa.update(tables.nodes).values(generation=1))
    shows(SlurmNode("old1", OUT))
    until(lambda: "old1" not in power_cloud.servers(), 20, "the stray to be deleted")


def test_a_condemned_second_server_is_deleted_and_the_nodes_own_never(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    """Only while nobody acts on the node, and it is known which server is its own."""
    tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "main1"}
    own, second = power_cloud.add_servers([ServerSpec(name=n, metadata=tags) for n in ("a", "b")])
    template = '[groups.main.server]\nimage = "i"\nflavor = "f"\nnetworks = ["none"]\n'
    bench = open_power_bench(group=f'strategy = "delete"\n{template}')
    with bench.store.begin() as connection:
        known = [DriftMemory(s.id, Drift.SURPLUS, 1, repairs=1) for s in (own, second)]
        drift_memory.remember(connection, CLUSTER, known)
        row = {"cluster": CLUSTER, "node": "main1", "desired": "up", "generation": 1}
        connection.execute(sa.insert(tables.nodes).values(**row, request_id="r"))
    takes(bench)
    until(lambda: power_cloud.counts().get("list_detail"), 20, "a listing")
    assert power_cloud.counts().get("delete", 0) == 0
    with bench.store.begin() as connection:
        connection.execute(sa.update(tables.nodes).values(server_id=own.id))
    takes(bench)
    until(lambda: "b" not in power_cloud.servers(), 20, "the second server to be deleted")
    before = power_cloud.counts()["list_detail"]
    takes(bench)
    until(lambda: power_cloud.counts()["list_detail"] > before, 20, "another listing")
    assert "a" in power_cloud.servers()
    assert power_cloud.counts()["delete"] == 1


def test_a_node_on_hold_is_left_alone_and_what_was_asked_is_done_after_its_release(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    """Parked, neither lost nor dead; nor does a node that is at work get another call."""
    bench = open_power_bench()
    with bench.store.begin() as connection:
        held = [Hold("main1", "disk is odd", "operator", time.time_ns())]
        holds.place(connection, CLUSTER, held)
    up, other = resume(), resume("main2")
    bench.ask(up, other)
    assert bench.ending(other).transition is COMPLETED
    bench.saw(up, PARKED)
    (parked,) = [told for told in bench.events(up) if told.transition is PARKED]
    assert parked.cause is not None
    assert (parked.cause.error, parked.attempt) == ("on_hold", 0)
    assert "disk is odd" in parked.cause.message
    assert starts(power_cloud) == 1
    with bench.store.begin() as connection:
        assert holds.lift(connection, CLUSTER, ["main1", "main3"]) == ["main1"]
    assert bench.ending(up).transition is COMPLETED
    assert starts(power_cloud) == 2
    bench.idle()


def test_a_hold_stops_what_is_under_way(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    power_cloud.set(boot_seconds=30.0)
    bench = open_power_bench()
    up = resume()
    bench.ask(up)
    until(lambda: starts(power_cloud) == 1, 20, "the start")
    with bench.store.begin() as connection:
        held = [Hold("main1", "disk is odd", "operator", time.time_ns())]
        holds.place(connection, CLUSTER, held)
    bench.saw(up, PARKED)
    power_cloud.set_power("main1", on=False)
    down = suspend(after=0.001)
    bench.ask(down)
    bench.saw(down, PARKED)
    with bench.store.begin() as connection:
        holds.lift(connection, CLUSTER, ["main1"])
    assert [e.transition for e in bench.endings(up, down)] == [SUPERSEDED, COMPLETED]
    assert starts(power_cloud) == 1
