"""Heartbeats of workers, on SQLite and PostgreSQL."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.site.status import store_findings
from tests.unit.test_doctor import GOOD_TOML
from workers.config.settings import load
from workers.store import heartbeats
from workers.store.database import open_store
from workers.store.heartbeats import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def test_another_cluster_counts_while_its_workers_use_the_store(
    store: sa.Engine, run_dir: Path
) -> None:
    """`lamplighter status` and `doctor` name it; a cluster that has moved away, or was renamed, is none."""
    (run_dir / "lamplighter.toml").write_text(GOOD_TOML)
    settings = load(run_dir / "lamplighter.toml", {})
    now = time.time_ns()
    for seen_at, wanted in ((now, ["other"]), (now - 600 * NS, [])):
        with store.begin() as connection:
            heartbeats.write(connection, settings.cluster, replace(POWER, seen_at=now))
            heartbeats.write(connection, "other", replace(POWER, seen_at=seen_at))
        with store.connect() as connection:
            assert heartbeats.other_clusters(connection, settings.cluster, now) == wanted
            found = [one.text for one in store_findings(connection, settings, {})]
        shared = [text for text in found if "other use this database, too; name another" in text]
        assert len(shared) == len(wanted)
