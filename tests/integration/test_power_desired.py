"""Desired states, leases, boots, patience and outcomes in the store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.commands import Desired, Kind, PowerCommand
from schemas.envelope import parse
from schemas.events import Cause, CloudAction, RequestEvent, Transition, event_from
from schemas.server import Server
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.pending_nodes import GROUP
from tests.testbed.waiting import until
from workers.broker.delivery import DeliveryHistory
from workers.power import messages
from workers.power.node import PendingNode
from workers.power.steps import Finish
from workers.slurm.node_memory import requested_states
from workers.store import holds
from workers.store.database import open_store
from workers.store.holds import Hold
from workers.store.lease_owner import Lease, Owner
from workers.store.nodes import DesiredRow, NodeTable
from workers.store.overview import node_powers
from workers.store.power_store import Accepted, Batch, NodeEnd, PowerStore
from workers.store.tables import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from workers.power.intake import Pending

RESUME = command(kind=Kind.RESUME, generation=MOMENT)
SUSPEND = command(kind=Kind.SUSPEND, generation=MOMENT + 10**9)
LEASE = 60.0
SETTLING = 20.0
NOW = MOMENT + 10**10
SERVER = Server("id-1", "node1", "ACTIVE")
CAUSE = Cause("quota", "full")
ACTION = CloudAction("os-start", "id-1", NOW, "done")

_clusters = (f"cluster{number}" for number in itertools.count())


class Store:
    """A store, and workers that share it."""

    def __init__(self, engine: sa.Engine, opened: ExitStack) -> None:
        self.engine = engine
        self._opened = opened
        self.cluster = "test"
        self._reader = self.owner()

    def owner(self) -> Owner:
        owner = Owner(self.engine.url)
        self._opened.callback(owner.close)
        return owner

    def worker(self, seconds: float = LEASE) -> PowerStore:
        return PowerStore(self.engine, self.cluster, self.lease(seconds=seconds))

    def lease(self, owner: Owner | None = None, *, seconds: float = LEASE) -> Lease:
        return Lease(owner or self.owner(), seconds, settling=SETTLING)

    def table(self, owner: Owner | None = None) -> NodeTable:
        return NodeTable(self.engine, self.cluster, self.lease(owner or self._reader))

    def accept(
        self, owner: Owner, *commands: PowerCommand, lease: float = LEASE, now: int = NOW
    ) -> Mapping[str, DesiredRow]:
        with self.engine.begin() as connection:
            how = self.lease(owner, seconds=lease)
            return NodeTable(self.engine, self.cluster, how).accept(connection, commands, now)

    def read(self, node: str = "node1") -> DesiredRow:
        how = Lease(self._reader, 1000.0, settling=SETTLING)
        with self.engine.begin() as connection:
            return NodeTable(self.engine, self.cluster, how).read(connection, [node])[node]

    def shift_boots(self, milliseconds: int) -> None:
        """Let the last boots lie later, or earlier, by the store's clock."""
        moved = nodes.c.booted_at + milliseconds
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(nodes).where(nodes.c.booted_at > 0).values(booted_at=moved)
            )

    def release(self, owner: Owner, *names: str) -> None:
        with self.engine.begin() as connection:
            self.table(owner).release(connection, names)

    def renew(self, owner: Owner, *names: str, seconds: float = LEASE) -> None:
        with self.engine.begin() as connection:
            how = self.lease(owner, seconds=seconds)
            NodeTable(self.engine, self.cluster, how).renew(connection, names or ["node1"])

    def observed(self, node: str = "node1") -> tuple[str | None, str | None, int | None]:
        columns = nodes.c.server_id, nodes.c.observed, nodes.c.observed_at
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(*columns).where(nodes.c.node == node)).one()
        return row.server_id, row.observed, row.observed_at


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    engine = open_store(store_url, "state")
    with ExitStack() as opened:
        opened.callback(engine.dispose)
        yield Store(engine, opened)


# -- the highest generation


commands = st.builds(
    command,
    st.sampled_from(["node1", "node2"]),
    kind=st.sampled_from(Kind),
    generation=st.integers(1, 6).map(lambda number: MOMENT + number * 10**9),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(commands, max_size=4), max_size=4))
def test_the_highest_generation_wins_in_any_order_and_the_first_among_equals(
    store: Store, batches: list[list[PowerCommand]]
) -> None:
    store.cluster = next(_clusters)
    owner = store.owner()
    highest: dict[str, PowerCommand] = {}
    for batch in batches:
        rows = store.accept(owner, *batch)
        for asked in batch:
            known = highest.get(asked.node)
            if known is None or asked.generation > known.generation:
                highest[asked.node] = asked
        assert set(rows) == {asked.node for asked in batch}
        for node, row in rows.items():
            won = highest[node]
            assert (row.generation, row.desired, row.request_id) == (
                won.generation,
                won.desired,
                won.id,
            )


def test_accepting_nothing_changes_nothing(store: Store) -> None:
    assert store.accept(store.owner()) == {}


def test_a_stale_request_still_shows_what_is_wanted(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, SUSPEND)
    rows = store.accept(owner, RESUME)
    assert (rows["node1"].desired, rows["node1"].request_id) == (Desired.DOWN, SUSPEND.id)


def test_clusters_share_a_store_without_sharing_nodes(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, SUSPEND)
    store.cluster = "other"
    assert store.accept(owner, RESUME)["node1"].desired is Desired.UP


def test_a_thousand_nodes_are_accepted_read_renewed_and_released_at_once(store: Store) -> None:
    owner = store.owner()
    many = [command(f"node{number}") for number in range(1200)]
    rows = store.accept(owner, *many)
    assert {row.lease_owner for row in rows.values()} == {owner.name}
    assert len(rows) == 1200
    store.renew(owner, *rows)
    store.release(owner, *rows)
    with store.engine.begin() as connection:
        after = store.table(owner).read(connection, list(rows))
    assert {row.lease_owner for row in after.values()} == {None}


# -- leases


def test_the_first_worker_may_act_and_the_other_learns_who_does(store: Store) -> None:
    first, second = store.owner(), store.owner()
    assert store.accept(first, RESUME)["node1"].lease_owner == first.name
    row = store.accept(second, SUSPEND)["node1"]
    assert row.lease_owner == first.name
    assert row.generation == SUSPEND.generation


def test_a_lease_runs_on_the_clock_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clocks of two workers may differ by a day; neither is read."""
    owner = store.owner()
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert LEASE - 5 < store.accept(owner, RESUME)["node1"].lease_left <= LEASE
    assert LEASE - 5 < store.read().lease_left <= LEASE


def test_a_lease_that_has_ended_is_free(store: Store) -> None:
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME, lease=0.05)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    assert store.read().lease_owner == first.name
    assert store.accept(second, RESUME)["node1"].lease_owner == second.name


def test_accepting_again_and_renewing_extend_a_lease(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, RESUME, lease=10)
    assert store.accept(owner, RESUME, lease=30)["node1"].lease_left > 20
    store.renew(owner, seconds=90)
    assert store.read().lease_left > 60


def test_renewing_does_not_take_back_a_lease_that_another_worker_has_taken(store: Store) -> None:
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME, lease=0.0)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    store.accept(second, RESUME)
    store.renew(first)
    assert store.read().lease_owner == second.name


def test_a_lease_that_was_not_given_up_ends_while_others_are_renewed(store: Store) -> None:
    """Its release was lost with the store: nobody works on the node, and it must not seem so for ever."""
    owner = store.owner()
    store.accept(owner, RESUME, command("node2"), lease=0.05)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    store.renew(owner, "node2")
    assert store.read().lease_left < 0 < store.read("node2").lease_left


def test_only_the_owner_can_give_a_lease_up(store: Store) -> None:
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME)
    store.release(second, "node1")
    assert store.read().lease_owner == first.name
    store.release(first, "node1")
    row = store.read()
    assert row.lease_owner is None
    assert row.lease_left < 0
    assert store.accept(second, RESUME)["node1"].lease_owner == second.name


def test_leases_of_a_killed_worker_are_free_at_once_and_those_of_a_living_one_are_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, living, third = store.owner(), store.owner(), store.owner()
    monkeypatch.setattr(third, "is_dead", lambda name: name == dead.name)
    store.accept(dead, RESUME, command("node2"))
    store.accept(living, command("node3"))
    rows = store.accept(third, RESUME, command("node3"))
    assert rows["node1"].lease_owner == third.name
    assert rows["node3"].lease_owner == living.name
    assert store.read("node2").lease_owner is None


def test_calls_of_a_killed_worker_may_take_effect_whoever_holds_the_node_by_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a round could end on a listing from before its last call took effect."""
    dead, second, third = store.owner(), store.owner(), store.owner()
    monkeypatch.setattr(second, "is_dead", lambda name: name == dead.name)
    store.accept(dead, RESUME, command("node2"))
    assert store.read().unsettled_left == 0
    assert SETTLING - 5 < store.accept(second, RESUME)["node1"].unsettled_left <= SETTLING
    store.release(second, "node1")
    rows = store.accept(third, RESUME, command("node2"))
    assert rows["node1"].lease_owner == rows["node2"].lease_owner == third.name
    assert all(SETTLING - 5 < row.unsettled_left <= SETTLING for row in rows.values())


def test_a_call_may_be_under_way_if_the_stores_clock_was_set_forward_by_a_lease(
    store: Store,
) -> None:
    """Whoever takes the node over ends nothing on a listing from before that call took effect."""
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME, command("node2"))
    with store.engine.begin() as connection:
        later = nodes.c.lease_until - int(2 * LEASE * 1000)
        connection.execute(sa.update(nodes).values(lease_until=later))
    assert store.accept(first, command("node2"))["node2"].unsettled_left == 0
    row = store.accept(second, RESUME)["node1"]
    assert row.lease_owner == second.name
    assert SETTLING - 5 < row.unsettled_left <= SETTLING


def test_no_call_outlasts_the_lease_that_it_was_made_under(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, second = store.owner(), store.owner()
    monkeypatch.setattr(second, "is_dead", lambda name: name == dead.name)
    store.accept(dead, RESUME, lease=5.0)
    store.accept(dead, command("node2"), lease=0.0)
    rows = store.accept(second, RESUME, command("node2"))
    assert 0 < rows["node1"].unsettled_left <= 5
    assert rows["node2"].unsettled_left == 0


# -- what was done and observed


def test_observations_are_kept_and_the_last_known_server_too(store: Store) -> None:
    store.accept(store.owner(), RESUME)
    with store.engine.begin() as connection:
        store.table().observe(connection, {"node1": ("id-1", "ACTIVE")}, 5)
    assert store.observed() == ("id-1", "ACTIVE", 5)
    with store.engine.begin() as connection:
        store.table().observe(connection, {"node1": (None, "NONE")}, 6)
        store.table().observe(connection, {}, 7)
    assert store.observed() == ("id-1", "NONE", 6)
    assert store.read().server_id == "id-1"


def test_the_newest_power_off_that_waits_is_kept_also_before_the_nodes_first_request(
    store: Store,
) -> None:
    """Or an older resume that comes after it would boot the node."""
    worker = store.worker()
    later = replace(SUSPEND, generation=SUSPEND.generation + 1)
    for asked in ([later, SUSPEND], [SUSPEND], []):
        worker.note_power_offs(asked)
        assert store.read().off_asked == later.generation
    row = store.accept(store.owner(), RESUME)["node1"]
    assert (row.desired, row.generation) == (Desired.UP, RESUME.generation)
    assert row.off_asked == later.generation


def test_a_power_off_that_waits_is_no_request_of_the_node_to_anybody_else(store: Store) -> None:
    store.worker().note_power_offs([SUSPEND])
    with store.engine.begin() as connection:
        assert node_powers(connection, store.cluster) == {}
        assert requested_states(connection, store.cluster, ["node1"]) == {}


def accepted(worker: PowerStore, *asked: Pending) -> Mapping[str, DesiredRow]:
    return worker.accept(asked, [], NOW).rows


def test_actions_are_known_to_the_worker_that_goes_on(store: Store) -> None:
    first, second = store.worker(), store.worker()
    request = pending(RESUME)
    accepted(first, request)
    first.commit(Batch(actions={request.key: (ACTION,)}), NOW)
    first.commit(Batch(), NOW)
    assert second.accept([request], [], NOW).actions == {request.key: (ACTION,)}
    again = pending(RESUME, DeliveryHistory(round=2))
    assert second.accept([again], [], NOW).actions == {request.key: (ACTION,)}


def test_a_late_request_learns_the_actions_of_the_one_that_raised_the_state(store: Store) -> None:
    worker = store.worker()
    newer, older = pending(SUSPEND), pending(RESUME)
    accepted(worker, newer)
    worker.commit(Batch(actions={newer.key: (ACTION,)}), NOW)
    assert worker.accept([older], [], NOW).actions == {newer.key: (ACTION,)}


def test_a_late_answer_overwrites_nothing_of_the_worker_that_has_taken_the_node(
    store: Store,
) -> None:
    """What it has called would be unknown to the next one, and its bounds would count anew."""
    ours, other, request = store.worker(seconds=0.0), store.worker(), pending(RESUME)
    accepted(ours, request)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    accepted(other, request)
    theirs = replace(ACTION, action="os-stop"), ACTION
    other.commit(Batch(actions={request.key: theirs}, waited={request.key: 5.0}), NOW)
    ours.commit(Batch(actions={request.key: (ACTION,)}, waited={request.key: 90.0}), NOW)
    ours.renew(["node1"], {request.key: 90.0})
    again = other.accept([request], [], NOW)
    assert (again.actions, again.waited) == ({request.key: theirs}, {request.key: 5.0})


# -- patience


def test_how_long_a_round_has_waited_is_known_to_the_worker_that_goes_on(store: Store) -> None:
    first, second, request = store.worker(), store.worker(), pending(RESUME)
    assert first.accept([request], [], NOW).waited == {request.key: 0.0}
    first.renew([], {request.key: 12.3456})
    assert second.accept([request], [], NOW).waited == {request.key: 12.345}
    first.commit(Batch(waited={request.key: 40.0}), NOW)
    again = pending(RESUME, DeliveryHistory(round=2))
    waited = second.accept([again], [], NOW).waited
    assert waited == {request.key: 40.0, again.key: 0.0}


def test_an_action_starts_the_patience_of_its_round_again(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    accepted(worker, request)
    worker.renew([], {request.key: 40.0})
    worker.commit(Batch(actions={request.key: (ACTION,)}), NOW)
    assert worker.accept([request], [], NOW).waited == {request.key: 0.0}


def test_an_action_and_the_waiting_after_it_in_one_commit_are_both_kept(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    accepted(worker, request)
    worker.commit(Batch(actions={request.key: (ACTION,)}, waited={request.key: 5.0}), NOW)
    again = worker.accept([request], [], NOW)
    assert (again.actions, again.waited) == ({request.key: (ACTION,)}, {request.key: 5.0})


# -- boots


def boots(store: Store, node: str = "node1") -> tuple[bool, int, int]:
    """Whether a boot is due, and the generations that say so."""
    row = store.read(node)
    return row.boot_due, row.boot_from, row.booted


def reaches(store: Store, asked: PowerCommand) -> None:
    with store.engine.begin() as connection:
        store.table().mark_reached(connection, {asked.node: asked.generation})


def boots_under(store: Store, asked: PowerCommand) -> None:
    with store.engine.begin() as connection:
        store.table().mark_booted(connection, {asked.node: asked.generation})


def at(kind: Kind, second: int, **changes: object) -> PowerCommand:
    asked = command(kind=kind, generation=MOMENT + second * 10**9)
    return replace(asked, **changes)  # type: ignore[arg-type]


UP_1, UP_3, UP_5 = (at(Kind.RESUME, second) for second in (1, 3, 5))
DOWN_2, DOWN_4 = (at(Kind.SUSPEND, second) for second in (2, 4))


def test_the_age_of_the_last_boot_is_measured_by_the_stores_clock(store: Store) -> None:
    """Each call that boots counts, also one more under the same or an older generation."""
    owner = store.owner()
    store.accept(owner, UP_1)
    store.accept(owner, UP_3)
    assert store.read("node1").boot_age is None
    for asked in (UP_3, UP_3, UP_1):
        store.shift_boots(-50_000)
        boots_under(store, asked)
        row = store.read("node1")
        assert row.boot_age is not None
        assert 0 <= row.boot_age < 20
        assert row.booted == UP_3.generation
    store.shift_boots(-30_000)
    assert 30 <= (store.read("node1").boot_age or 0) < 50
    # the clock was set back since: nobody knows how long ago it was
    store.shift_boots(3_600_000)
    assert store.read("node1").boot_age is None


@pytest.mark.parametrize("lease", [LEASE, 0.0], ids=["killed here", "its lease ended"])
def test_a_worker_that_did_not_give_its_lease_up_may_have_booted_the_node(
    store: Store, monkeypatch: pytest.MonkeyPatch, lease: float
) -> None:
    """It was killed between its call and the commit that says so."""
    killed, second, third = store.owner(), store.owner(), store.owner()
    monkeypatch.setattr(second, "is_dead", lambda name: name == killed.name and lease > 0)
    for _ in "accepted", "delivered again":
        store.accept(killed, UP_1, lease=lease)
    assert store.read().boot_age is None
    until(lambda: lease > 0 or store.read().lease_left < 0, 5, "the end of its lease")
    store.accept(second, UP_1)
    boot_age = store.read().boot_age
    assert boot_age is not None
    assert 0 <= boot_age < 20
    store.shift_boots(-50_000)
    store.accept(second, UP_1)
    store.release(second, "node1")
    store.accept(third, UP_1)
    assert 50 <= (store.read().boot_age or 0) < 70


@pytest.mark.parametrize("lease", [LEASE, 0.0], ids=["killed here", "its lease ended"])
def test_a_worker_that_did_not_give_its_lease_up_may_have_created_the_server_to_deploy(
    store: Store, monkeypatch: pytest.MonkeyPatch, lease: float
) -> None:
    """Whoever goes on must not cut its cloud-init off, nor power it off under a job."""
    deploy = at(Kind.DEPLOY, 6)
    killed, second = store.owner(), store.owner()
    monkeypatch.setattr(second, "is_dead", lambda name: name == killed.name and lease > 0)
    store.accept(killed, deploy)
    store.accept(killed, deploy, lease=lease)
    assert store.read().booted == 0
    until(lambda: lease > 0 or store.read().lease_left < 0, 5, "the end of its lease")
    store.accept(second, deploy)
    assert store.read().booted == deploy.generation
    store.accept(second, at(Kind.DEPLOY, 7))
    assert store.read().booted == deploy.generation


def test_a_resume_waits_for_a_boot_and_a_suspend_does_not(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    assert boots(store) == (True, UP_1.generation, 0)
    boots_under(store, UP_1)
    assert boots(store) == (False, UP_1.generation, UP_1.generation)
    store.accept(owner, DOWN_2)
    assert boots(store) == (False, UP_1.generation, UP_1.generation)


def test_a_resume_after_a_suspend_waits_for_another_boot(store: Store) -> None:
    """Also where the suspend was never carried out: slurmctld holds the node to be powered down."""
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    store.accept(owner, DOWN_2)
    store.accept(owner, UP_3)
    assert boots(store) == (True, UP_3.generation, UP_1.generation)


def test_a_resume_over_a_completed_one_waits_for_another_boot(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    reaches(store, UP_1)
    store.accept(owner, UP_3)
    assert boots(store) == (True, UP_3.generation, UP_1.generation)


def test_a_resume_over_one_that_is_under_way_needs_no_boot_of_its_own(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    store.accept(owner, UP_3)
    assert boots(store) == (False, UP_1.generation, UP_1.generation)


def test_a_suspend_that_comes_after_its_resume_makes_a_boot_due_from_it(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    store.accept(owner, UP_3)
    store.accept(owner, DOWN_2)
    assert boots(store) == (True, DOWN_2.generation, UP_1.generation)
    boots_under(store, UP_3)
    assert not store.read().boot_due


def test_a_suspend_that_comes_in_one_batch_with_both_resumes_counts_too(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    for batch in itertools.permutations([DOWN_2, UP_3]):
        store.accept(owner, *batch)
        assert boots(store)[0]


def test_an_older_suspend_than_the_boot_that_is_due_changes_nothing(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_3)
    store.accept(owner, DOWN_2)
    assert boots(store) == (True, UP_3.generation, 0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_slurm_waits_for_a_boot_after_its_last_power_off_also_if_that_was_not_acted_upon(
    store: Store, order: tuple[int, ...]
) -> None:
    """It was late, and waited for a snapshot or was superseded by one; the first boot is under way."""
    worker, owner = store.worker(), store.owner()
    for number in order:
        if number == 1:
            worker.note_power_offs([DOWN_2])
        else:
            store.accept(owner, (UP_1, DOWN_2, UP_3)[number])
        if number == 0:
            boots_under(store, UP_1)
    assert store.read().generation == UP_3.generation
    assert store.read().boot_due
    boots_under(store, UP_3)
    assert not store.read().boot_due
    store.accept(owner, UP_5)
    assert not store.read().boot_due


@pytest.mark.parametrize(
    "asked",
    [
        at(Kind.SUSPEND, 2, expiry=None),
        at(Kind.DEPLOY, 2),
        at(Kind.RETIRE, 2),
        at(Kind.ADOPT, 2),
    ],
    ids=lambda asked: str(asked.kind),
)
def test_an_operators_older_request_makes_no_boot_due(store: Store, asked: PowerCommand) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    store.accept(owner, UP_3)
    store.accept(owner, asked)
    assert not store.read().boot_due


def test_a_resume_fail_between_two_resumes_makes_a_boot_due_too(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    store.accept(owner, UP_3)
    store.accept(owner, at(Kind.RESUME_FAIL, 2, expiry=None))
    assert boots(store) == (True, DOWN_2.generation, UP_1.generation)


def test_an_operators_resume_and_one_that_has_expired_wait_for_no_boot(store: Store) -> None:
    owner = store.owner()
    operators = at(Kind.RESUME, 1, expiry=None)
    store.accept(owner, operators)
    assert not store.read().boot_due
    expired = at(Kind.RESUME, 3, expiry=NOW - 1)
    store.accept(owner, expired)
    assert not store.read().boot_due
    reaches(store, expired)
    store.accept(owner, at(Kind.RESUME, 5, expiry=NOW))
    assert store.read().boot_due


def test_a_repair_waits_for_no_boot_of_its_own(store: Store) -> None:
    """The node may have booted, and run a job, since the listing in which the difference was found."""
    owner = store.owner()
    store.accept(owner, UP_1)
    boots_under(store, UP_1)
    reaches(store, UP_1)
    store.accept(owner, replace(at(Kind.RESUME, 3, expiry=NOW), repair=True))
    assert not store.read().boot_due


def test_an_operators_resume_keeps_the_boot_that_is_due(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, UP_1)
    store.accept(owner, at(Kind.RESUME, 3, expiry=None))
    assert boots(store) == (True, UP_1.generation, 0)


def test_a_request_that_is_delivered_again_makes_no_other_boot_due(store: Store) -> None:
    owner = store.owner()
    for _ in range(2):
        store.accept(owner, UP_1)
    boots_under(store, UP_1)
    store.accept(owner, UP_1)
    assert boots(store) == (False, UP_1.generation, UP_1.generation)


def test_a_boot_is_noted_with_its_generation_and_for_its_node_alone(store: Store) -> None:
    owner = store.owner()
    other = replace(UP_1, node="node2")
    store.accept(owner, UP_1, other)
    worker = store.worker()
    worker.commit(Batch(booted={"node1": UP_1.generation}), NOW)
    assert [store.read(node).boot_due for node in ("node1", "node2")] == [False, True]


def test_a_call_that_may_have_booted_the_node_starts_its_age_and_leaves_its_boot_due(
    store: Store,
) -> None:
    worker = store.worker()
    accepted(worker, pending(RESUME))
    worker.commit(Batch(booted={"node1": 0}), NOW)
    row = store.read()
    assert (row.boot_due, row.booted) == (True, 0)
    assert row.boot_age == pytest.approx(0.0, abs=5.0)


def test_a_completed_round_is_noted_as_reached_and_a_failed_one_is_not(store: Store) -> None:
    worker = store.worker()
    for node, transition in (("node1", Transition.FAILED), ("node2", Transition.COMPLETED)):
        first, second = (replace(one, node=node) for one in (UP_1, UP_3))
        accepted(worker, pending(first))
        worker.commit(Batch(booted={node: first.generation}), NOW)
        finish(worker, pending(first), transition)
        accepted(worker, pending(second))
        # after a boot that completed, slurmctld waits for another; the failed one was not seen
        assert store.read(node).boot_due is (transition is Transition.COMPLETED)


# -- what another process has changed


def test_nodes_that_another_process_has_raised_taken_or_put_on_hold_are_read_again(
    store: Store,
) -> None:
    ours, other = store.worker(seconds=0.0), store.worker()
    asked = [command(f"node{number}") for number in range(1, 6)]
    accepted(ours, *map(pending, asked))
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    known = {one.node: one.generation for one in asked}
    assert ours.changed(known) == []
    accepted(other, pending(asked[0]))
    store.accept(store.owner(), command("node2", kind=Kind.SUSPEND, generation=MOMENT + 5))
    with store.engine.begin() as connection:
        holds.place(connection, "test", [Hold("node3", "disk swap", "me", 1)])
        holds.place(connection, "test", [Hold("node9", "not pending", "me", 1)])
        holds.place(connection, "other", [Hold("node4", "another cluster", "me", 1)])
    assert ours.changed(known) == ["node1", "node2", "node3"]
    assert store.read("node3").held == "disk swap"
    assert store.read("node4").held is None


# -- leases that cannot be


def test_a_lease_that_seems_to_last_too_long_is_free_and_its_calls_may_still_take_effect(
    store: Store,
) -> None:
    """The store's clock was set back: its holder would otherwise own the node for days."""
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME, lease=10 * LEASE)
    row = store.accept(second, SUSPEND)["node1"]
    assert row.lease_owner == second.name
    assert SETTLING - 5 < row.unsettled_left <= SETTLING


def test_a_lease_within_twice_its_length_is_left_to_its_holder(store: Store) -> None:
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME, lease=1.9 * LEASE)
    row = store.accept(second, SUSPEND)["node1"]
    assert (row.lease_owner, row.unsettled_left) == (first.name, 0.0)


def test_no_lease_and_no_settling_is_read_as_longer_than_it_can_be(store: Store) -> None:
    """Else a guard would trust a lease that the store's next step forward ends at once."""
    owner = store.owner()
    store.accept(owner, RESUME, lease=10 * LEASE)
    with store.engine.begin() as connection:
        far = nodes.c.unsettled_until + 10**15
        connection.execute(sa.update(nodes).values(unsettled_until=far))
        row = store.table(owner).read(connection, ["node1"])["node1"]
    assert (row.lease_left, row.unsettled_left) == (LEASE, SETTLING)


def test_a_node_stays_unsettled_for_the_longest_of_what_was_noted(store: Store) -> None:
    worker, owner = store.worker(), store.owner()
    store.accept(owner, RESUME)
    worker.commit(Batch(unsettled={"node1"}), NOW)
    with store.engine.begin() as connection:
        short = Lease(owner, LEASE, settling=1.0)
        NodeTable(store.engine, "test", short).mark_unsettled(connection, ["node1"])
    assert store.read().unsettled_left > SETTLING - 5


# -- outcomes


def outcome(request: Pending, transition: Transition, time: int = NOW) -> RequestEvent:
    return replace(messages.about(request, transition, request.history, time), cause=CAUSE)


def finished(
    transition: Transition, *waiting: Pending, row: DesiredRow | None = None, time: int = NOW
) -> NodeEnd:
    """A node of these requests that has come as far as it will."""
    asked = waiting[-1].command
    row = row or DesiredRow(
        asked.node, asked.desired, asked.generation, asked.id, None, "we", lease_left=60.0
    )
    node = PendingNode(asked.node, "all", GROUP, row, 0.0, 0.0, requests=waiting)
    failed = transition is Transition.FAILED
    how = Finish(transition, CAUSE if failed else None, None if failed else SERVER)
    return messages.node_end(node, how, time)


def bodies(accepted: Accepted) -> list[bytes]:
    return [body for _, body in accepted.ends]


def finish(
    worker: PowerStore,
    request: Pending,
    transition: Transition = Transition.COMPLETED,
    *,
    time: int = NOW,
) -> tuple[Sequence[bytes], Mapping[str, DesiredRow]]:
    """End a request's round; the events that the store holds, and the rows that had moved on."""
    batch = Batch(finished={request.command.node: finished(transition, request, time=time)})
    committed = worker.commit(batch, time)
    stored = [body for ended in committed.ended.values() for _, body in ended]
    return stored, committed.moved


def test_a_finished_node_ends_its_round_is_observed_and_released(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    accepted(worker, request)
    [body], moved = finish(worker, request)
    assert moved == {}
    told = event_from(parse(body))
    assert (told.transition, told.server_id, told.time) == (Transition.COMPLETED, "id-1", NOW)
    assert store.read().lease_owner is None
    assert store.observed() == ("id-1", "ACTIVE", NOW)


def test_a_failed_node_is_observed_with_its_error(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    accepted(worker, request)
    [body], _ = finish(worker, request, Transition.FAILED)
    assert event_from(parse(body)).cause == CAUSE
    assert store.observed() == (None, "quota", NOW)


def test_a_node_that_has_moved_on_is_not_ended(store: Store) -> None:
    """Otherwise an older request would complete although the node is to go elsewhere."""
    ours, other, request = store.worker(), store.worker(), pending(RESUME)
    accepted(ours, request)
    accepted(other, pending(SUSPEND))
    stored, moved = finish(ours, request)
    assert stored == []
    assert moved["node1"].generation == SUSPEND.generation
    assert moved["node1"].lease_owner == ours.owner
    assert store.observed() == (None, None, None)
    assert ours.accept([request], [], NOW).ended == {}


def test_a_node_whose_lease_is_lost_is_not_ended(store: Store) -> None:
    ours, other, request = store.worker(seconds=0.0), store.worker(), pending(RESUME)
    accepted(ours, request)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    accepted(other, request)
    stored, moved = finish(ours, request)
    assert stored == []
    assert moved["node1"].lease_owner == other.owner
    assert other.accept([request], [], NOW).ended == {}
    assert store.read().lease_owner == other.owner


def test_what_was_done_is_kept_though_the_node_has_moved_on(store: Store) -> None:
    """The actions of the older round, the boot, and that a call may still take effect."""
    ours, other, request = store.worker(), store.worker(), pending(RESUME)
    accepted(ours, request)
    accepted(other, pending(SUSPEND))
    batch = Batch(
        actions={request.key: (ACTION,)},
        booted={"node1": RESUME.generation},
        unsettled={"node1"},
        finished={"node1": finished(Transition.COMPLETED, request)},
    )
    assert ours.commit(batch, NOW).ended == {}
    row = store.read()
    assert (row.booted, row.unsettled_left > SETTLING - 5) == (RESUME.generation, True)
    assert ours.accept([request], [], NOW).actions == {request.key: (ACTION,)}


def test_nodes_that_have_not_moved_end_beside_one_that_has(store: Store) -> None:
    ours, other = store.worker(), store.worker()
    moving, staying = pending(RESUME), pending(command("node2"))
    accepted(ours, moving, staying)
    accepted(other, pending(SUSPEND))
    both = {r.command.node: finished(Transition.COMPLETED, r) for r in (moving, staying)}
    committed = ours.commit(Batch(finished=both), NOW)
    assert (list(committed.ended), list(committed.moved)) == (["node2"], ["node1"])
    assert store.read("node2").lease_owner is None


def test_all_requests_of_a_finished_node_end_and_an_older_opposite_is_superseded(
    store: Store,
) -> None:
    worker, older, newer = store.worker(), pending(RESUME), pending(SUSPEND)
    accepted(worker, older, newer)
    batch = Batch(finished={"node1": finished(Transition.COMPLETED, older, newer)})
    ended = worker.commit(batch, NOW).ended["node1"]
    told = {event.request_id: event_from(parse(body)).transition for event, body in ended}
    assert told == {older.id: Transition.SUPERSEDED, newer.id: Transition.COMPLETED}


def test_a_released_node_is_free_without_an_outcome(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    accepted(worker, request)
    worker.commit(Batch(released={"node1"}), NOW)
    assert store.read().lease_owner is None
    assert worker.accept([request], [], NOW).ended == {}


def test_a_round_has_one_outcome_whoever_ends_it_and_however_often(store: Store) -> None:
    first, second, request = store.worker(), store.worker(), pending(RESUME)
    accepted(first, request)
    [stored], _ = finish(first, request, Transition.COMPLETED)
    failed = outcome(request, Transition.FAILED)
    assert bodies(second.accept([], [failed], NOW)) == [stored]
    accepted(second, pending(SUSPEND))
    superseded = outcome(request, Transition.SUPERSEDED, NOW + 1)
    assert bodies(first.accept([], [superseded], NOW)) == [stored]


def test_two_deliveries_of_one_round_get_the_same_event(store: Store) -> None:
    worker, request, twin = store.worker(), pending(RESUME), pending(RESUME)
    accepted(worker, request, twin)
    batch = Batch(finished={"node1": finished(Transition.COMPLETED, request, twin)})
    [(_, first), (_, second)] = worker.commit(batch, NOW).ended["node1"]
    assert first == second


def test_a_delivery_after_the_end_gets_the_outcome_and_raises_nothing(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    accepted(worker, request)
    [stored], _ = finish(worker, request)
    again = store.worker().accept([request], [], NOW + 1)
    assert again.ended[request.key].event == stored
    assert again.ended[request.key].transition is Transition.COMPLETED
    assert again.rows == {}
    assert store.read().lease_owner is None


def test_a_new_round_ends_on_its_own(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    accepted(worker, request)
    finish(worker, request, Transition.FAILED)
    replayed = pending(RESUME, DeliveryHistory(round=2))
    again = worker.accept([replayed], [], NOW)
    assert again.ended == {}
    assert again.rows["node1"].lease_owner == worker.owner
    [body], _ = finish(worker, replayed)
    assert event_from(parse(body)).round == 2


def test_a_request_that_was_never_accepted_can_be_ended(store: Store) -> None:
    worker, request = store.worker(), pending(RESUME)
    assert worker.accept([], [], NOW).ends == []
    [body] = bodies(worker.accept([], [outcome(request, Transition.FAILED)], NOW))
    assert worker.accept([request], [], NOW).ended[request.key].event == body


# -- together


def test_a_round_that_ends_when_it_is_delivered_again_keeps_its_calls(store: Store) -> None:
    """Such as a resume that called the cloud, rested, and is no longer wanted."""
    worker, request = store.worker(), pending(RESUME)
    worker.accept([request], [], NOW)
    made = (CloudAction("delete", "s1", NOW, "done"), CloudAction("create", "s2", NOW, "done"))
    worker.commit(Batch(actions={request.key: made}), NOW)
    unwanted = Cause("slurm_disagrees", "powering down")
    end = messages.about(request, Transition.SUPERSEDED, request.history, NOW, cause=unwanted)
    ((event, body),) = store.worker().accept([], [end], NOW).ends
    assert event.actions == event_from(parse(body)).actions == made


def test_workers_that_share_nodes_never_wait_in_a_circle(store: Store) -> None:
    """Every transaction locks rows in one order; a dead-lock would end one of them with an error."""
    # a locale would sort these unlike Python
    known = [f"{stem}{number}" for number in range(60) for stem in ("a-", "B", "a")]
    workers = [store.worker() for _ in range(3)]

    def work(number: int) -> int:
        rng, worker = random.Random(number), workers[number]  # noqa: S311 - shuffles
        for turn in range(20):
            # now and then all are new to the store
            names = [f"{name}-{turn // 2}" for name in known]
            chosen = rng.sample(names, 90)
            asked = [
                pending(command(name, generation=MOMENT + (turn * 3 + number) * 10**9))
                for name in chosen
            ]
            rows = accepted(worker, *asked)
            worker.renew([], {request.key: 1.0 for request in rng.sample(asked, 40)})
            some = rng.sample(asked, 40)
            batch = Batch(
                actions={request.key: (ACTION,) for request in some},
                booted={request.command.node: NOW for request in some},
                unsettled=set(rng.sample(names, 40)),
                finished={
                    r.command.node: finished(Transition.COMPLETED, r, row=rows[r.command.node])
                    for r in some
                },
                released=set(rng.sample(names, 120)),
            )
            worker.commit(batch, NOW)
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(3))) == [0, 1, 2]


def test_the_boots_of_other_workers_are_seen_until_their_requests_end(store: Store) -> None:
    """Also one that rests between two workers; of our own, only those that are over."""
    ours, theirs = store.worker(), store.worker()
    request = pending(RESUME)
    generation = request.command.generation

    def seen(worker: PowerStore) -> list[tuple[str, bool]]:
        boots = worker.boots_elsewhere()
        assert all(0 <= boot.age < 60 for boot in boots)
        return [(boot.node, boot.is_over) for boot in boots]

    accepted(ours, request)
    assert seen(theirs) == []
    ours.commit(Batch(booted={"node1": generation}), NOW)
    assert (seen(theirs), seen(ours)) == ([("node1", False)], [])
    ours.commit(Batch(released={"node1"}), NOW)
    assert seen(theirs) == seen(ours) == [("node1", False)]
    accepted(ours, request)
    finish(ours, request)
    assert seen(theirs) == seen(ours) == [("node1", True)]
    failed = pending(replace(RESUME, node="node2"))
    accepted(theirs, failed)
    theirs.commit(Batch(booted={"node2": failed.command.generation}), NOW)
    finish(theirs, failed, Transition.FAILED)
    assert seen(ours) == [("node1", True)]
