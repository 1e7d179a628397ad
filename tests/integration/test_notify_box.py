"""What waits for webhooks, in the store: on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.events import Cause
from workers.notify import box
from workers.notify.box import Notification
from workers.store.engine import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

ONE = Notification("one", "event-1", 1, b"body", 100, 100)


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def test_a_notification_waits_is_tried_and_remembered(store: sa.Engine) -> None:
    """A repeat folds while it waits and after it was taken; a replay is a round of its own."""
    with store.begin() as connection:
        box.put(connection, "test", [ONE, replace(ONE, webhook="two"), ONE])
        box.put(connection, "test", [replace(ONE, body=b"other", due_at=1)])
        box.put(connection, "other", [ONE])
        box.put(connection, "test", [])
        assert box.waiting(connection, "test") == {"one": 1, "two": 1}
        assert box.claim(connection, "test", "one", 99, 200) is None
        found = box.claim(connection, "test", "one", 100, 200)
        assert found == replace(ONE, due_at=200)
        assert box.claim(connection, "test", "one", 199, 300) is None
        errors = found.failed(Cause("http_500", "no"), 150)
        box.try_again(connection, "test", found, errors, 180)
    with store.begin() as connection:
        again = box.claim(connection, "test", "one", 180, 300)
        assert again is not None
        assert (again.attempt, again.errors[0]["error"]) == (2, "http_500")
        box.done(connection, "test", again, 190)
        box.put(connection, "test", [ONE])
        assert box.waiting(connection, "test") == {"two": 1}
        box.put(connection, "test", [replace(ONE, round=2)])
        assert box.waiting(connection, "test") == {"one": 1, "two": 1}
        box.forget(connection, "test", 190)
        box.put(connection, "test", [ONE])
        assert box.waiting(connection, "test")["one"] == 1
        box.forget(connection, "test", 191)
        box.put(connection, "test", [ONE])
        assert box.waiting(connection, "test")["one"] == 2


def test_each_goes_to_one_of_several_workers_the_longest_due_first(store: sa.Engine) -> None:
    many = [replace(ONE, event_id=f"event-{i:02}", due_at=100 + i) for i in range(20)]
    with store.begin() as connection:
        box.put(connection, "test", reversed(many))

    def take(_: int) -> str:
        with store.begin() as connection:
            found = box.claim(connection, "test", "one", 1000, 5000)
        assert found is not None
        return found.event_id

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(take, range(len(many))))
    assert sorted(taken) == [each.event_id for each in many]
    assert taken[0] <= "event-03"
