"""The model's store does what the real one does, whatever is done to both."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.commands import Kind
from schemas.events import Transition, transition_event
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.unit.fencing import store as stores
from tests.unit.fencing.store import DEAD, EMPTY, Store
from workers.power.lease_owner import Owner
from workers.power.power_store import PowerStore
from workers.store.database import open_store
from workers.store.requests import outcomes
from workers.store.tables import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = [
    command(kind=Kind.SUSPEND, generation=MOMENT),
    command(kind=Kind.RESUME, generation=MOMENT + 10**9),
]
ENDS = (Transition.COMPLETED, Transition.SUPERSEDED, Transition.FAILED)


class Mortal(Owner):
    """An owner that knows who was killed."""

    def __init__(self, url: sa.URL, dead: set[str]) -> None:
        super().__init__(url)
        self.dead = dead

    def is_dead(self, other: str) -> bool:
        return other in self.dead


class Real:
    """The real store, and its workers."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.dead: set[str] = set()
        self.books = [self.book(), self.book()]
        with engine.begin() as connection:
            for table in ("nodes", "requests"):
                connection.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608 - of two names

    def book(self) -> PowerStore:
        owner = Mortal(self.engine.url, self.dead)
        return PowerStore(self.engine, "test", owner, lease=60.0, landing=20.0)

    def change(self, **values: int) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(nodes).values(**values))

    def kill(self, worker: int) -> None:
        self.dead.add(self.books[worker].owner)
        self.books[worker] = self.book()

    def settle(self, generation: int, worker: int, ended: tuple[tuple[int, str], ...]) -> bool:
        endings = [
            (
                pending(ASKED[number - 1]),
                transition_event(ASKED[number - 1], Transition(how), round_=1, time=MOMENT),
            )
            for number, how in ended
        ]
        wanted = ASKED[generation - 1].generation
        _, moved = self.books[worker].settle({"node1": (wanted, endings)}, [])
        return not moved

    def seen(self) -> Store:
        """In the model's words."""
        rows = self.books[0].read(["node1"])
        with self.engine.begin() as connection:
            found = outcomes(connection, "test", [(asked.id, 1) for asked in ASKED])
        ended = tuple(
            str(found[asked.id, 1].transition) if (asked.id, 1) in found else None
            for asked in ASKED
        )
        if not rows:
            return EMPTY._replace(outcomes=ended)
        row = rows["node1"]
        owners = {book.owner: number for number, book in enumerate(self.books)}
        owners |= dict.fromkeys(self.dead, DEAD)
        return Store(
            generation=1 + [asked.generation for asked in ASKED].index(row.generation),
            owner=None if row.lease_owner is None else owners[row.lease_owner],
            live=row.lease_left > 0,
            wary=row.wary_left > 0,
            outcomes=ended,
        )


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    made = open_store("sqlite://", "state")
    yield made
    made.dispose()


def step(rng: random.Random, model: Store, real: Real) -> tuple[str, Store]:
    """Do one thing to both; return its name and what the model has become."""
    worker, generation = rng.randrange(2), rng.choice([1, 2])
    what = rng.choice(
        ["accept", "accept", "settle", "renew", "release", "ends", "dies", "wary", "calm"]
    )
    if model.generation == 0:
        what = "accept"
    book = real.books[worker]
    match what:
        case "accept":
            request = pending(ASKED[generation - 1])
            if model.outcomes[generation - 1] is None:
                model = stores.accept(model, generation, worker)
            book.accept([request], MOMENT)
        case "settle":
            some = rng.sample([1, 2], rng.choice([0, 1, 2]))
            ended = tuple((number, str(rng.choice(ENDS))) for number in some)
            settled = stores.settle(model, generation, worker, ended)
            assert real.settle(generation, worker, ended) == (settled is not None)
            model = settled or model
        case "renew":
            model = stores.renew(model, worker)
            book.renew()
        case "release":
            model = stores.release(model, worker)
            book.release(["node1"])
        case "ends":
            model = model._replace(live=False)
            real.change(lease_until=1)
        case "dies":
            model = stores.died(model, worker)
            real.kill(worker)
        case "wary":
            model = model._replace(wary=True)
            book.record({}, ["node1"])
        case _:
            model = model._replace(wary=False)
            real.change(unsettled_until=1)
    return f"{what} {worker} {generation}", model


@pytest.mark.parametrize("seed", range(40))
def test_what_is_done_to_both_shows_in_both(engine: sa.Engine, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a failure comes again
    model, real = EMPTY, Real(engine)
    done = []
    for _ in range(25):
        name, model = step(rng, model, real)
        done.append(name)
        assert real.seen() == model, f"after {', '.join(done)}"
