"""One outcome a round, whoever asks first, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from schemas.envelope import parse
from schemas.events import Transition, event_from
from tests.testbed.messages import MOMENT, command, event
from workers.store.database import open_store
from workers.store.requests import Round, fix_outcomes, insert_requests, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from schemas.events import RequestEvent

ASKED = [command(f"node{i}") for i in range(1200)]
ENDS = [Transition.COMPLETED, Transition.FAILED, Transition.SUPERSEDED, Transition.DISCARDED]


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def fix(store: sa.Engine, events: list[RequestEvent]) -> list[RequestEvent]:
    with store.begin() as connection:
        return [event_from(parse(body)) for body in fix_outcomes(connection, "test", events)]


def test_the_first_outcome_stands_and_comes_back_to_all(store: sa.Engine) -> None:
    completed = [event(Transition.COMPLETED, asked) for asked in ASKED]
    assert fix(store, completed) == completed
    failed = [event(Transition.FAILED, asked) for asked in reversed(ASKED)]
    assert fix(store, failed) == completed[::-1]


def test_an_open_round_is_ended_and_another_round_is_its_own(store: sa.Engine) -> None:
    (asked,) = ASKED[:1]
    with store.begin() as connection:
        rows = [Round(asked.id, 1, asked.node, asked.generation, MOMENT)]
        for _ in range(2):
            insert_requests(connection, "test", rows)
        insert_requests(connection, "test", [])
        assert outcomes(connection, "test", [(asked.id, 1)]) == {}
    one = event(Transition.FAILED, asked)
    two = event(Transition.DISCARDED, asked, round_=2)
    assert fix(store, [one, two, one]) == [one, two, one]
    with store.begin() as connection:
        insert_requests(connection, "test", rows)
        found = outcomes(connection, "test", [(asked.id, 1), (asked.id, 2), (asked.id, 3)])
        assert outcomes(connection, "another", [(asked.id, 1)]) == {}
    assert {key[1]: outcome.transition for key, outcome in found.items()} == {
        1: Transition.FAILED,
        2: Transition.DISCARDED,
    }


def test_two_outcomes_of_a_round_in_one_batch_are_one(store: sa.Engine) -> None:
    first, second = event(Transition.SUPERSEDED, ASKED[0]), event(Transition.FAILED, ASKED[0])
    assert fix(store, [first, second]) == [first, first]


def test_whoever_fixes_at_the_same_time_gets_the_same_answer(store: sa.Engine) -> None:
    together = threading.Barrier(len(ENDS))

    def end(transition: Transition) -> list[RequestEvent]:
        mine = [event(transition, asked) for asked in ASKED[:300]]
        # each in an order of its own: they must not wait for each other in a circle
        mine = mine if transition in ENDS[:2] else mine[::-1]
        together.wait()
        stands = fix(store, mine)
        return sorted(stands, key=lambda told: told.request_id)

    with ThreadPoolExecutor(len(ENDS)) as pool:
        answers = list(pool.map(end, ENDS))
    assert all(answer == answers[0] for answer in answers)
