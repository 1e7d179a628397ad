"""Heartbeats of workers, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from workers.store import heartbeats
from workers.store.database import open_store
from workers.store.heartbeats import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

NS = 10**9
NOW = 1_767_323_045 * NS
POWER = Heartbeat("power", "power@a:1", "a", 1, NOW - 3600 * NS, NOW - 60 * NS, "fine")


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def kept(store: sa.Engine, *written: Heartbeat) -> list[str]:
    with store.begin() as connection:
        for one in written:
            heartbeats.write(connection, "test", one)
        heartbeats.write(connection, "other", POWER)
    with store.connect() as connection:
        return [one.name for one in heartbeats.heartbeats(connection, "test")]


def test_killed_worker_is_silent_until_a_successor_starts_on_its_host(
    store: sa.Engine,
) -> None:
    elsewhere = replace(POWER, name="power@b:2", host="b", started_at=NOW, seen_at=NOW)
    beside = replace(POWER, name="power@a:3", started_at=POWER.seen_at - NS, seen_at=NOW)
    assert kept(store, POWER, elsewhere, beside) == ["power@a:1", "power@a:3", "power@b:2"]
    assert POWER.is_silent(NOW)
    assert not beside.is_silent(NOW)
    after = replace(POWER, name="power@a:4", started_at=POWER.seen_at + NS, seen_at=NOW)
    assert kept(store, after) == ["power@a:3", "power@a:4", "power@b:2"]


def test_day_old_heartbeats_and_those_of_exited_workers_are_deleted(store: sa.Engine) -> None:
    tomorrow = NOW + 2 * 86_400 * NS
    late = replace(POWER, name="audit@a:5", role="audit", started_at=NOW, seen_at=tomorrow)
    assert kept(store, POWER, late) == ["audit@a:5"]
    with store.begin() as connection:
        heartbeats.delete_heartbeat(connection, "test", "audit@a:5")
    assert kept(store) == []
