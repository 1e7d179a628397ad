"""Each round has one outcome, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from schemas.envelope import parse
from schemas.events import Transition, event_from
from tests.testbed.messages import MOMENT, command, event
from workers.store.database import open_store
from workers.store.requests import (
    Round,
    fix_outcomes,
    keep_waited,
    open_rounds,
    outcomes,
    progress,
    record_actions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemas.events import RequestEvent

# On SQLite: one test reads SQLite's query plans; all else runs on both.

COMMANDS = [command(f"node{i}") for i in range(1200)]
ENDS = [Transition.COMPLETED, Transition.FAILED, Transition.SUPERSEDED, Transition.DISCARDED]


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def fix(store: sa.Engine, events: list[RequestEvent]) -> list[RequestEvent]:
    with store.begin() as connection:
        fixed = fix_outcomes(connection, "test", events)
    assert [told for told, _ in fixed] == [event_from(parse(body)) for _, body in fixed]
    return [told for told, _ in fixed]


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


def test_no_statement_of_a_turn_reads_the_rounds_of_other_requests_on_sqlite(run_dir: Path) -> None:
    store = open_store(f"sqlite:///{run_dir}/store.db", "state")
    plans: list[str] = []

    def explain(*given: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        connection, _, statement, values, _, many = given
        if statement.startswith(("SELECT", "UPDATE")):
            one = values[0] if many else values
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", one)
            plans.extend(row[-1] for row in rows if " requests" in row[-1])

    completed = [event(Transition.COMPLETED, requested) for requested in COMMANDS[:20]]
    keys = [(requested.id, 1) for requested in COMMANDS[:20]]
    sa.event.listen(store, "before_cursor_execute", explain)
    with store.begin() as connection:
        keep_waited(connection, "test", "we", dict.fromkeys(keys, 1.0))
        record_actions(connection, "test", "we", dict.fromkeys(keys, ()))
        progress(connection, "test", [request_id for request_id, _ in keys])
        fix_outcomes(connection, "test", completed)
        outcomes(connection, "test", keys)
    store.dispose()
    assert len(plans) == 5
    assert all("request_id=?" in plan for plan in plans), plans
