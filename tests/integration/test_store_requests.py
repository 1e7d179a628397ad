"""Each round has one outcome, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from schemas.envelope import parse
from schemas.events import Transition, event_from
from tests.testbed.messages import MOMENT, command, event
from workers.store.database import open_store
from workers.store.requests import Round, fix_outcomes, open_rounds, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from schemas.events import RequestEvent

COMMANDS = [command(f"node{i}") for i in range(1200)]
ENDS = [Transition.COMPLETED, Transition.FAILED, Transition.SUPERSEDED, Transition.DISCARDED]


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def fix(store: sa.Engine, events: list[RequestEvent]) -> list[RequestEvent]:
    with store.begin() as connection:
        return [event_from(parse(body)) for body in fix_outcomes(connection, "test", events)]


def test_first_outcome_wins_and_is_returned_to_all(store: sa.Engine) -> None:
    completed = [event(Transition.COMPLETED, requested) for requested in COMMANDS]
    assert fix(store, completed) == completed
    failed = [event(Transition.FAILED, requested) for requested in reversed(COMMANDS)]
    assert fix(store, failed) == completed[::-1]


def test_open_round_ends_and_other_rounds_are_separate(store: sa.Engine) -> None:
    (requested,) = COMMANDS[:1]
    with store.begin() as connection:
        rows = [Round(requested.id, 1, requested.node, requested.generation, MOMENT)]
        for _ in range(2):
            open_rounds(connection, "test", rows)
        open_rounds(connection, "test", [])
        assert outcomes(connection, "test", [(requested.id, 1)]) == {}
    one = event(Transition.FAILED, requested)
    two = event(Transition.DISCARDED, requested, round_=2)
    assert fix(store, [one, two, one]) == [one, two, one]
    with store.begin() as connection:
        open_rounds(connection, "test", rows)
        found = outcomes(
            connection, "test", [(requested.id, 1), (requested.id, 2), (requested.id, 3)]
        )
        assert outcomes(connection, "another", [(requested.id, 1)]) == {}
    assert {key[1]: outcome.transition for key, outcome in found.items()} == {
        1: Transition.FAILED,
        2: Transition.DISCARDED,
    }


def test_two_outcomes_of_a_round_in_one_batch_become_one(store: sa.Engine) -> None:
    first, second = event(Transition.SUPERSEDED, COMMANDS[0]), event(Transition.FAILED, COMMANDS[0])
    assert fix(store, [first, second]) == [first, first]


def test_concurrent_callers_get_the_same_outcome(store: sa.Engine) -> None:
    together = threading.Barrier(len(ENDS))

    def end(transition: Transition) -> list[RequestEvent]:
        mine = [event(transition, requested) for requested in COMMANDS[:300]]
        # in different orders: the transactions must not deadlock
        mine = mine if transition in ENDS[:2] else mine[::-1]
        together.wait()
        stored = fix(store, mine)
        return sorted(stored, key=lambda ended: ended.request_id)

    with ThreadPoolExecutor(len(ENDS)) as pool:
        answers = list(pool.map(end, ENDS))
    assert all(answer == answers[0] for answer in answers)
