"""The model's store does what the real one does, whatever is done to both."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.commands import Desired
from schemas.events import Transition
from tests.testbed.messages import MOMENT
from tests.testbed.pending_nodes import GROUP
from tests.testbed.stores import POSTGRESQL, STORES
from tests.unit.fencing import reality
from tests.unit.fencing import store as stores
from tests.unit.fencing.store import DEAD, Ask, Store
from workers.power import messages
from workers.power.node import PendingNode
from workers.power.steps import Finish
from workers.store import holds
from workers.store.database import open_store
from workers.store.holds import Hold
from workers.store.lease_owner import Lease, Owner
from workers.store.power_store import Batch, PowerStore
from workers.store.requests import outcomes
from workers.store.tables import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.power.intake import Pending

# On SQLite: in memory, which is fastest; with STORE=postgresql in a database.

WORLDS = [
    (Ask(1, Desired.DOWN), Ask(2, Desired.UP)),
    (
        Ask(1, Desired.UP),
        Ask(2, Desired.DOWN),
        Ask(3, Desired.UP),
    ),
    (
        Ask(1, Desired.UP),
        Ask(2, Desired.DOWN, is_slurms=False),
        Ask(3, Desired.UP, is_slurms=False),
        Ask(4, Desired.UP),
    ),
]
ENDS = (Transition.COMPLETED, Transition.FAILED)


class Mortal(Owner):
    """An owner that knows which others were killed."""

    def __init__(self, url: sa.URL, dead: set[str]) -> None:
        super().__init__(url)
        self.dead = dead

    def is_dead(self, other: str) -> bool:
        return other in self.dead


class Real:
    """The real store, and its workers."""

    def __init__(self, engine: sa.Engine, asks: tuple[Ask, ...]) -> None:
        self.engine = engine
        self.asks = asks
        self.requests = reality.requests(asks)
        self.dead: set[str] = set()
        self.workers = [self.worker(), self.worker()]
        with engine.begin() as connection:
            for table in ("nodes", "requests", "holds"):
                connection.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608 - of three names

    def worker(self) -> PowerStore:
        owner = Mortal(self.engine.url, self.dead)
        return PowerStore(self.engine, "test", Lease(owner, 60.0, settling=20.0))

    def change(self, **values: int) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(nodes).values(**values))

    def hold(self, *, on: bool) -> None:
        with self.engine.begin() as connection:
            if on:
                holds.place(connection, "test", [Hold("node1", "disk swap", "me", 1)])
            else:
                holds.lift(connection, "test", ["node1"])

    def kill(self, worker: int) -> None:
        self.dead.add(self.workers[worker].owner)
        self.workers[worker] = self.worker()

    def finish(
        self, generation: int, worker: int, held: tuple[int, ...], transition: Transition
    ) -> bool:
        row = reality.row(self.asks, generation)
        waiting = tuple(self.requests[i] for i in held)
        node = PendingNode("node1", "all", GROUP, row, 0.0, 0.0, requests=waiting)
        end = messages.node_end(node, Finish(transition, None, None), MOMENT)
        batch = Batch(finished={"node1": end})
        return not self.workers[worker].commit(batch, MOMENT).moved

    def seen(self) -> Store:
        """The same in the model's words."""
        rows = self.workers[0].read(["node1"])
        with self.engine.begin() as connection:
            found = outcomes(connection, "test", [request.key for request in self.requests])
        ended = tuple(
            str(found[request.key].transition) if request.key in found else None
            for request in self.requests
        )
        if not rows:
            return stores.empty(len(self.asks))._replace(outcomes=ended)
        row = rows["node1"]
        owners = {worker.owner: number for number, worker in enumerate(self.workers)}
        owners |= dict.fromkeys(self.dead, DEAD)
        with self.engine.begin() as connection:
            reached = connection.scalars(sa.select(nodes.c.reached)).one()
        return Store(
            generation=self._rank(row.generation),
            owner=None if row.lease_owner is None else owners[row.lease_owner],
            live=row.lease_left > 0,
            unsettled=row.unsettled_left > 0,
            outcomes=ended,
            reached=self._rank(reached),
            booted=self._rank(row.booted),
            boot_from=self._rank(row.boot_from),
            held=row.held is not None,
            off_asked=self._rank(row.off_asked),
        )

    def _rank(self, generation: int) -> int:
        ranks = {request.command.generation: ask.generation for ask, request in self.pairs()}
        return ranks[generation] if generation else 0

    def pairs(self) -> list[tuple[Ask, Pending]]:
        return list(zip(self.asks, self.requests, strict=True))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    # SQLite in memory is fastest
    url = "sqlite://"
    if STORES.kind == POSTGRESQL:
        url = STORES.url(tmp_path_factory.mktemp("store") / "state.db")
    made = open_store(url, "state")
    yield made
    made.dispose()


ACTIONS = [
    "accept",
    "accept",
    "accept",
    "parks",
    "finish",
    "renew",
    "release",
    "ends",
    "dies",
    "unsettled",
    "settles",
    "boots",
    "hold",
    "fix",
]


def step(rng: random.Random, model: Store, real: Real) -> tuple[str, Store]:  # noqa: C901, PLR0912, PLR0915
    """Do one thing to both; return its name and what the model has become."""
    worker, number = rng.randrange(2), rng.randrange(len(real.asks))
    generation = real.asks[number].generation
    what = rng.choice(ACTIONS)
    if model.generation == 0 and what != "parks":
        what = "accept"
    of_worker, request = real.workers[worker], real.requests[number]
    match what:
        case "accept":
            if model.outcomes[number] is None:
                model = stores.accept(model, real.asks, number, worker)
            of_worker.accept([request], [], MOMENT)
        case "parks":
            model = stores.note_power_off(model, real.asks, real.asks[number])
            if request.command.is_slurms_power_off:
                of_worker.note_power_offs([request.command])
        case "finish":
            positions = range(len(real.asks))
            held = tuple(sorted(rng.sample(positions, rng.choice([0, 1, 2]))))
            how = rng.choice(ENDS)
            ended = reality.outcome(real.asks, generation, held, how)
            done = how is Transition.COMPLETED
            finished = stores.finish(model, generation, worker, ended, done=done)
            assert real.finish(generation, worker, held, how) == (finished is not None)
            model = finished or model
        case "renew":
            model = stores.renew(model, worker)
            of_worker.renew(["node1"], {})
        case "release":
            model = stores.release(model, worker)
            of_worker.commit(Batch(released={"node1"}), MOMENT)
        case "ends":
            model = model._replace(live=False)
            real.change(lease_until=1)
        case "dies":
            model = stores.died(model, worker)
            real.kill(worker)
        case "unsettled":
            model = model._replace(unsettled=True)
            of_worker.commit(Batch(unsettled={"node1"}), MOMENT)
        case "boots":
            model = model._replace(booted=max(model.booted, generation))
            booted = {"node1": request.command.generation}
            of_worker.commit(Batch(booted=booted), MOMENT)
        case "hold":
            model = model._replace(held=not model.held)
            real.hold(on=model.held)
        case "fix":
            model = stores.fix(model, ((number, str(Transition.SUPERSEDED)),))
            event = messages.about(request, Transition.SUPERSEDED, request.history, MOMENT)
            of_worker.accept([], [event], MOMENT)
        case _:
            model = model._replace(unsettled=False)
            real.change(unsettled_until=1)
    return f"{what} {worker} {number}", model


@pytest.mark.slow
@pytest.mark.parametrize("asks", WORLDS, ids=["two", "three", "an operator's"])
@pytest.mark.parametrize("seed", range(40))
def test_the_model_and_the_real_store_agree_after_every_step(
    engine: sa.Engine, seed: int, asks: tuple[Ask, ...]
) -> None:
    rng = random.Random(seed)  # noqa: S311 - so that a failure can be repeated
    model, real = stores.empty(len(asks)), Real(engine, asks)
    done = []
    for _ in range(25):
        name, model = step(rng, model, real)
        done.append(name)
        assert real.seen() == model, f"after {', '.join(done)}"


@pytest.mark.parametrize(
    ("back", "age"), [(-30.0, 30.0), (1.0, 0.0), (45.0, 0.0), (595.0, 0.0), (3600.0, None)]
)
def test_a_node_counts_as_just_booted_while_the_stores_clock_is_set_back_to_before_its_boot(
    engine: sa.Engine, back: float, age: float | None
) -> None:
    """Without an age, a late power-off or a second reboot would not wait until it could register."""
    real = Real(engine, WORLDS[0])
    real.workers[0].accept(real.requests[1:], [], MOMENT)
    real.workers[0].commit(Batch(booted={"node1": MOMENT}), MOMENT)
    with engine.begin() as connection:
        moved = nodes.c.booted_at + int(back * 1000)
        connection.execute(sa.update(nodes).values(booted_at=moved))
    assert real.workers[0].read_one("node1").boot_age == pytest.approx(age, abs=20.0)


def test_a_call_from_before_the_stores_clock_was_set_back_is_unsettled_for_one_timeout(
    engine: sa.Engine,
) -> None:
    """Each request of the node would end an API timeout later, for as long as the clock is behind."""
    real = Real(engine, WORLDS[0])
    real.workers[0].accept(real.requests[:1], [], MOMENT)
    real.workers[0].commit(Batch(unsettled={"node1"}), MOMENT)
    with engine.begin() as connection:
        later = nodes.c.unsettled_until + 86_400_000
        connection.execute(sa.update(nodes).values(unsettled_until=later))
    real.workers[0].accept(real.requests[1:], [], MOMENT)
    assert 0.0 < real.workers[0].read_one("node1").unsettled_left <= 20.0
    with engine.begin() as connection:
        passed = nodes.c.unsettled_until - 20_000
        connection.execute(sa.update(nodes).values(unsettled_until=passed))
    assert real.workers[0].read_one("node1").unsettled_left == 0.0
