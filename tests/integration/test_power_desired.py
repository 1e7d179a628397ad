"""Desired states, leases and outcomes in the store, on SQLite and on PostgreSQL."""

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
from schemas.events import Cause, CloudAction, Transition, transition_event
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.waiting import until
from workers.power import desired_state
from workers.power.desired_state import DesiredRow, Observation
from workers.power.intake import DeliveryHistory, Pending
from workers.power.lease_owner import Owner
from workers.power.power_store import PowerStore, RequestEnding
from workers.store.database import open_store
from workers.store.tables import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RESUME = command(kind=Kind.RESUME, generation=MOMENT)
SUSPEND = command(kind=Kind.SUSPEND, generation=MOMENT + 10**9)
LEASE = 60.0
LANDING = 20.0
NOW = MOMENT + 10**10
ACTION = CloudAction("os-start", "id-1", NOW, "done")

_clusters = (f"cluster{number}" for number in itertools.count())


class Store:
    """A store, and workers that share it."""

    def __init__(self, engine: sa.Engine, opened: ExitStack) -> None:
        self.engine = engine
        self._opened = opened
        self.cluster = "test"

    def owner(self) -> Owner:
        owner = Owner(self.engine.url)
        self._opened.callback(owner.close)
        return owner

    def book(self, lease: float = LEASE) -> PowerStore:
        return PowerStore(self.engine, self.cluster, self.owner(), lease, landing=LANDING)

    def accept(
        self, owner: Owner, *commands: PowerCommand, lease: float = LEASE
    ) -> Mapping[str, DesiredRow]:
        with self.engine.begin() as connection:
            return desired_state.accept(connection, self.cluster, commands, owner, lease, LANDING)

    def read(self, node: str = "node1") -> DesiredRow:
        with self.engine.begin() as connection:
            return desired_state.read(connection, self.cluster, [node])[node]

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


def test_clusters_do_not_meet(store: Store) -> None:
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
    with store.engine.begin() as connection:
        desired_state.renew(connection, "test", owner, LEASE)
        desired_state.release(connection, "test", list(rows), owner)
        after = desired_state.read(connection, "test", list(rows))
    assert {row.lease_owner for row in after.values()} == {None}


# -- leases


def test_whoever_is_first_may_act_and_the_other_learns_who_does(store: Store) -> None:
    first, second = store.owner(), store.owner()
    assert store.accept(first, RESUME)["node1"].lease_owner == first.name
    row = store.accept(second, SUSPEND)["node1"]
    assert row.lease_owner == first.name
    assert row.generation == SUSPEND.generation


def test_a_lease_runs_on_the_store_s_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers' clocks may differ by a day; neither is asked."""
    owner = store.owner()
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert LEASE - 5 < store.accept(owner, RESUME)["node1"].lease_left <= LEASE
    assert LEASE - 5 < store.read().lease_left <= LEASE


def test_a_lease_that_has_ended_is_anybody_s(store: Store) -> None:
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME, lease=0.05)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    assert store.read().lease_owner == first.name
    assert store.accept(second, RESUME)["node1"].lease_owner == second.name


def test_accepting_again_and_renewing_prolong_a_lease(store: Store) -> None:
    owner = store.owner()
    store.accept(owner, RESUME, lease=10)
    assert store.accept(owner, RESUME, lease=30)["node1"].lease_left > 20
    with store.engine.begin() as connection:
        desired_state.renew(connection, "test", owner, 90)
    assert store.read().lease_left > 60


def test_a_lease_that_another_took_is_not_taken_back_by_renewing(store: Store) -> None:
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME, lease=0.0)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    store.accept(second, RESUME)
    with store.engine.begin() as connection:
        desired_state.renew(connection, "test", first, LEASE)
    assert store.read().lease_owner == second.name


def test_only_its_owner_gives_a_lease_up(store: Store) -> None:
    first, second = store.owner(), store.owner()
    store.accept(first, RESUME)
    with store.engine.begin() as connection:
        desired_state.release(connection, "test", ["node1"], second)
    assert store.read().lease_owner == first.name
    with store.engine.begin() as connection:
        desired_state.release(connection, "test", ["node1"], first)
    row = store.read()
    assert row.lease_owner is None
    assert row.lease_left < 0
    assert store.accept(second, RESUME)["node1"].lease_owner == second.name


def test_a_dead_owner_s_leases_are_free_at_once_and_a_living_one_s_are_not(
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


def test_what_a_dead_owner_has_sent_may_land_whoever_holds_the_node_by_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a completion could be told on what is seen before its last call takes effect."""
    dead, second, third = store.owner(), store.owner(), store.owner()
    monkeypatch.setattr(second, "is_dead", lambda name: name == dead.name)
    store.accept(dead, RESUME, command("node2"))
    assert store.read().wary_left == 0
    assert LANDING - 5 < store.accept(second, RESUME)["node1"].wary_left <= LANDING
    with store.engine.begin() as connection:
        desired_state.release(connection, "test", ["node1"], second)
    rows = store.accept(third, RESUME, command("node2"))
    assert rows["node1"].lease_owner == rows["node2"].lease_owner == third.name
    assert all(LANDING - 5 < row.wary_left <= LANDING for row in rows.values())


def test_no_call_outlasts_the_lease_that_it_was_made_under(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, second = store.owner(), store.owner()
    monkeypatch.setattr(second, "is_dead", lambda name: name == dead.name)
    store.accept(dead, RESUME, lease=5.0)
    store.accept(dead, command("node2"), lease=0.0)
    rows = store.accept(second, RESUME, command("node2"))
    assert 0 < rows["node1"].wary_left <= 5
    assert rows["node2"].wary_left == 0


# -- what was done and seen


def test_what_was_seen_is_kept_and_the_last_known_server_too(store: Store) -> None:
    store.accept(store.owner(), RESUME)
    with store.engine.begin() as connection:
        desired_state.observe(connection, "test", [Observation("node1", "id-1", "ACTIVE", 5)])
    assert store.observed() == ("id-1", "ACTIVE", 5)
    with store.engine.begin() as connection:
        desired_state.observe(connection, "test", [Observation("node1", None, "NONE", 6)])
        desired_state.observe(connection, "test", [])
    assert store.observed() == ("id-1", "NONE", 6)
    assert store.read().server_id == "id-1"


def test_actions_are_known_to_whoever_goes_on(store: Store) -> None:
    first, second = store.book(), store.book()
    request = pending(RESUME)
    first.accept([request], NOW)
    first.record({request.key: [ACTION]})
    first.record({})
    assert second.accept([request], NOW).actions == {request.key: [ACTION]}
    again = pending(RESUME, DeliveryHistory(round=2))
    assert second.accept([again], NOW).actions == {request.key: [ACTION]}


def test_a_late_request_learns_what_was_done_for_the_one_that_holds(store: Store) -> None:
    book = store.book()
    newer, older = pending(SUSPEND), pending(RESUME)
    book.accept([newer], NOW)
    book.record({newer.key: [ACTION]})
    assert book.accept([older], NOW).actions == {newer.key: [ACTION]}


# -- outcomes


def ending(request: Pending, transition: Transition, time: int = NOW) -> RequestEnding:
    told = transition_event(request.command, transition, round_=request.past.round, time=time)
    return request, replace(told, cause=Cause("quota", "full"))


def settle(
    book: PowerStore, request: Pending, transition: Transition = Transition.COMPLETED
) -> tuple[Sequence[bytes], Mapping[str, DesiredRow]]:
    seen = [Observation(request.command.node, "id-1", "ACTIVE", NOW)]
    endings = {
        request.command.node: (request.command.generation, [ending(request, transition)]),
    }
    ended, moved = book.settle(endings, seen)
    return [body for bodies in ended.values() for _, body in bodies], moved


def test_settling_ends_the_round_keeps_what_was_seen_and_gives_the_node_up(store: Store) -> None:
    book, request = store.book(), pending(RESUME)
    book.accept([request], NOW)
    [body], moved = settle(book, request)
    assert moved == {}
    assert body == ending(request, Transition.COMPLETED)[1].to_envelope().to_json()
    assert store.read().lease_owner is None
    assert store.observed() == ("id-1", "ACTIVE", NOW)


def test_a_node_that_has_moved_on_is_not_settled(store: Store) -> None:
    """Else the completion of an older want would be told, though the node is to go elsewhere."""
    ours, other, request = store.book(), store.book(), pending(RESUME)
    ours.accept([request], NOW)
    other.accept([pending(SUSPEND)], NOW)
    bodies, moved = settle(ours, request)
    assert bodies == []
    assert moved["node1"].generation == SUSPEND.generation
    assert moved["node1"].lease_owner == ours.owner
    assert store.observed() == (None, None, None)
    assert ours.accept([request], NOW).ended == {}


def test_a_node_whose_lease_is_lost_is_not_settled(store: Store) -> None:
    ours, other, request = store.book(lease=0.0), store.book(), pending(RESUME)
    ours.accept([request], NOW)
    until(lambda: store.read().lease_left < 0, 10.0, "the lease's end", interval=0.01)
    other.accept([request], NOW)
    bodies, moved = settle(ours, request)
    assert bodies == []
    assert moved["node1"].lease_owner == other.owner
    assert other.accept([request], NOW).ended == {}
    assert store.read().lease_owner == other.owner


def test_nodes_that_have_not_moved_settle_beside_one_that_has(store: Store) -> None:
    ours, other = store.book(), store.book()
    moving, staying = pending(RESUME), pending(command("node2"))
    ours.accept([moving, staying], NOW)
    other.accept([pending(SUSPEND)], NOW)
    endings = {
        request.command.node: (
            request.command.generation,
            [ending(request, Transition.COMPLETED)],
        )
        for request in (moving, staying)
    }
    ended, moved = ours.settle(endings, [])
    assert (list(ended), list(moved)) == (["node2"], ["node1"])
    assert store.read("node2").lease_owner is None


def test_a_round_has_one_outcome_whoever_ends_it_and_however_often(store: Store) -> None:
    first, second, request = store.book(), store.book(), pending(RESUME)
    first.accept([request], NOW)
    [stands], _ = settle(first, request, Transition.COMPLETED)
    assert second.end([ending(request, Transition.FAILED)]) == [stands]
    second.accept([pending(SUSPEND)], NOW)
    assert first.end([ending(request, Transition.SUPERSEDED, NOW + 1)]) == [stands]


def test_two_waiting_deliveries_of_one_round_get_the_same_words(store: Store) -> None:
    book, request, twin = store.book(), pending(RESUME), pending(RESUME)
    book.accept([request, twin], NOW)
    endings = [
        ending(request, Transition.COMPLETED),
        ending(twin, Transition.COMPLETED, NOW + 1),
    ]
    ended, _ = book.settle({"node1": (RESUME.generation, endings)}, [])
    [(_, first), (_, second)] = ended["node1"]
    assert first == second


def test_a_delivery_after_the_end_gets_the_outcome_and_raises_nothing(store: Store) -> None:
    book, request = store.book(), pending(RESUME)
    book.accept([request], NOW)
    [stands], _ = settle(book, request)
    again = store.book().accept([request], NOW + 1)
    assert again.ended[request.key].event == stands
    assert again.ended[request.key].transition is Transition.COMPLETED
    assert again.rows == {}
    assert store.read().lease_owner is None


def test_a_new_round_ends_anew(store: Store) -> None:
    book, request = store.book(), pending(RESUME)
    book.accept([request], NOW)
    settle(book, request, Transition.FAILED)
    replayed = pending(RESUME, DeliveryHistory(round=2))
    accepted = book.accept([replayed], NOW)
    assert accepted.ended == {}
    [body], _ = settle(book, replayed)
    assert b'"round":2' in body


def test_a_request_that_was_never_accepted_can_be_ended(store: Store) -> None:
    book, request = store.book(), pending(RESUME)
    assert book.end([]) == []
    [body] = book.end([ending(request, Transition.FAILED)])
    assert book.accept([request], NOW).ended[request.key].event == body


# -- together


def test_workers_that_share_nodes_never_wait_in_a_circle(store: Store) -> None:
    """Each transaction locks rows in one order; a dead-lock would end one of them with an error."""
    # a locale would sort these unlike Python
    names = [f"{stem}{number}" for number in range(60) for stem in ("a-", "B", "a")]
    books = [store.book() for _ in range(3)]

    def work(number: int) -> int:
        rng, book = random.Random(number), books[number]  # noqa: S311 - shuffles
        for turn in range(20):
            chosen = rng.sample(names, 90)
            requests = [
                pending(command(name, generation=MOMENT + (turn * 3 + number) * 10**9))
                for name in chosen
            ]
            rows = book.accept(requests, NOW).rows
            book.renew()
            endings = {
                r.command.node: (
                    rows[r.command.node].generation,
                    [ending(r, Transition.COMPLETED)],
                )
                for r in rng.sample(requests, 40)
            }
            book.settle(endings, [Observation(node, "id", "ACTIVE", NOW) for node in endings])
            book.release(rng.sample(names, 120))
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(3))) == [0, 1, 2]
