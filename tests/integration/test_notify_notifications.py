"""Notifications in the state store, on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.events import Cause
from workers.notify import notifications
from workers.notify.notifications import Notification
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

ONE = Notification("one", "event-1", 1, b"body", 100, 100)


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def test_a_notification_is_claimed_rescheduled_and_kept_when_done(store: sa.Engine) -> None:
    """A repeat is ignored while it waits and after it is done; a replay is a separate round."""
    with store.begin() as connection:
        notifications.add(connection, "test", [ONE, replace(ONE, webhook="two"), ONE])
        notifications.add(connection, "test", [replace(ONE, body=b"other", due_at=1)])
        notifications.add(connection, "other", [ONE])
        notifications.add(connection, "test", [])
        assert notifications.count_waiting(connection, "test") == {"one": 1, "two": 1}
        assert notifications.claim(connection, "test", "one", 99, 200, 9_000) is None
        found = notifications.claim(connection, "test", "one", 100, 200, 9_000)
        assert found == replace(ONE, due_at=200)
        assert notifications.claim(connection, "test", "one", 199, 300, 9_000) is None
        errors = found.failed(Cause("http_500", "no"), 150)
        notifications.reschedule(connection, "test", found, errors, 180)
    with store.begin() as connection:
        again = notifications.claim(connection, "test", "one", 180, 300, 9_000)
        assert again is not None
        assert (again.attempt, again.errors[0]["error"]) == (2, "http_500")
        notifications.mark_done(connection, "test", again, 190)
        notifications.add(connection, "test", [ONE])
        assert notifications.count_waiting(connection, "test") == {"two": 1}
        notifications.add(connection, "test", [replace(ONE, round=2)])
        assert notifications.count_waiting(connection, "test") == {"one": 1, "two": 1}
        notifications.delete_done(connection, "test", 190)
        notifications.add(connection, "test", [ONE])
        assert notifications.count_waiting(connection, "test")["one"] == 1
        notifications.delete_done(connection, "test", 191)
        notifications.add(connection, "test", [ONE])
        assert notifications.count_waiting(connection, "test")["one"] == 2


def test_what_was_scheduled_before_the_clock_was_set_back_is_due_now(store: sa.Engine) -> None:
    with store.begin() as connection:
        notifications.add(connection, "test", [replace(ONE, due_at=9_001)])
        assert notifications.claim(connection, "test", "one", 100, 200, 9_001) is None
        assert notifications.claim(connection, "test", "one", 100, 200, 9_000) is not None
        assert notifications.claim(connection, "test", "one", 100, 300, 9_000) is None


def test_workers_never_claim_the_same_notification_and_the_longest_due_is_first(
    store: sa.Engine,
) -> None:
    many = [replace(ONE, event_id=f"event-{i:02}", due_at=100 + i) for i in range(20)]
    with store.begin() as connection:
        notifications.add(connection, "test", reversed(many))

    def take(_: int) -> str:
        with store.begin() as connection:
            found = notifications.claim(connection, "test", "one", 1000, 5000, 9_000)
        assert found is not None
        return found.event_id

    first = take(0)
    assert first == "event-00"
    with ThreadPoolExecutor(4) as pool:
        taken = [first, *pool.map(take, range(1, len(many)))]
    assert sorted(taken) == [each.event_id for each in many]
