"""The audit worker with a real RabbitMQ: every acknowledged event is committed, once."""

from __future__ import annotations

import json
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from producers.message import Message
from schemas.events import Transition
from tests.testbed.installation import Installation
from tests.testbed.messages import command, event, published
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.stores import STORES
from tests.testbed.waiting import until
from workers.broker import topology
from workers.store.database import connect
from workers.store.tables import audit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.processes import Child


def lives(count: int, first: int = 0) -> list[Message]:
    """Two events a request."""
    return [
        published(event(transition, command(f"node{first + i}")))
        for i in range(count)
        for transition in (Transition.ACCEPTED, Transition.COMPLETED)
    ]


def recorded(site: Installation) -> int:
    engine = connect(site.settings.store.audit_url)
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(audit)).scalar_one()
    finally:
        engine.dispose()


def wait_recorded(site: Installation, count: int) -> None:
    until(lambda: recorded(site) == count, 30.0, f"{count} records")


def records_beyond(site: Installation, count: int) -> bool:
    return recorded(site) > count


def wait_logged(worker: Child, what: str) -> None:
    until(lambda: what in worker.log.read_text(), 20.0, what)


@pytest.fixture
def stored_site(run_dir: Path, broker_url: str, store_url: str) -> Installation:
    """An installation with its audit in SQLite or in PostgreSQL."""
    site = Installation(
        run_dir / "site",
        broker_url,
        store=f'url = "{STORES.url(run_dir / "state.db")}"\naudit_url = "{store_url}"',
    )
    site.prepare()
    return site


def test_every_event_is_recorded_once_and_acknowledged(stored_site: Installation) -> None:
    site = stored_site
    events = lives(600)
    unreadable = Message(topology.EVENTS, "alarm.odd", b"{no json", "odd")
    site.publish([*events, *events[:100], unreadable])
    with site.start("worker", "audit") as worker:
        site.wait_depth(topology.AUDIT_QUEUE, 0)
        wait_recorded(site, 1201)
        assert worker.stop() == 0
    assert site.depth(topology.AUDIT_QUEUE) == 0
    entries = site.lamplighter("audit", "list", "--limit", "2000", "--json").lines
    assert len(entries) == 1201
    (odd,) = (entry for entry in entries if entry["type"].endswith("quarantined.v1"))
    assert odd["body"] == "{no json"
    assert "not JSON" in odd["problem"]
    # the worker signed the log's head when it stopped, and wrote it to the file
    heads = site.folder / "audit.heads"
    (last,) = [json.loads(line) for line in heads.read_text().splitlines()][-1:]
    verified = site.lamplighter("audit", "verify", "--heads", str(heads), "--json")
    assert verified.code == 0, verified.out
    sums = verified.lines[-1]
    assert (sums["records"], sums["hash"]) == (1201, last["hash"])
    assert (site.folder / "audit.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("setting", "logged"),
    [("key_file", "audit_head_unsigned"), ("heads_file", "audit_head_not_exported")],
)
def test_events_are_recorded_even_if_heads_cannot_be_signed_or_written_and_status_says_so(
    run_dir: Path, broker_url: str, setting: str, logged: str
) -> None:
    file = run_dir / "site/nowhere/file"
    more = f'[audit]\n{setting} = "{file}"\nheads_every = 0.5\n'
    site = Installation(run_dir / "site", broker_url, more=more)
    site.prepare()
    site.publish(lives(10))
    with site.start("worker", "audit") as worker:
        wait_recorded(site, 20)
        wait_logged(worker, logged)

        def said() -> bool:
            return f"audit.{setting}: " in site.lamplighter("status").out

        until(said, 20.0, "the status")
        file.parent.mkdir(mode=0o700)
        site.publish(lives(1, 10))
        until(lambda: not said(), 20.0, "the status without it")
        assert worker.stop() == 0


def test_kill_9_loses_no_event_and_records_none_twice(site: Installation) -> None:
    total = 3000
    site.publish(lives(total // 2))
    for _ in range(3):
        before = recorded(site)
        with site.start("worker", "audit") as worker:
            until(partial(records_beyond, site, before), 30.0, "a batch")
            worker.send(signal.SIGKILL)
            worker.wait(10.0)
    with site.start("worker", "audit"):
        wait_recorded(site, total)
        site.wait_depth(topology.AUDIT_QUEUE, 0)


def test_a_standby_takes_over_from_a_dead_worker(site: Installation) -> None:
    with site.start("worker", "audit") as one, site.start("worker", "audit") as other:
        for worker in (one, other):
            wait_logged(worker, "broker_connected")
        site.publish(lives(50))
        wait_recorded(site, 100)
        # the broker has one active consumer; the other worker takes over
        one.send(signal.SIGKILL)
        one.wait(10.0)
        site.publish(lives(50, first=50))
        wait_recorded(site, 200)


def test_nothing_is_acknowledged_while_the_store_is_unavailable_and_nothing_is_lost(
    run_dir: Path, broker_url: str
) -> None:
    with PostgreSQL(run_dir / "postgresql") as server:
        site = Installation(
            run_dir / "site",
            broker_url,
            store=f'url = "{STORES.url(run_dir / "state.db")}"\naudit_url = "{server.create_database()}"',
        )
        site.prepare()
        with site.start("worker", "audit") as worker:
            site.publish(lives(50))
            wait_recorded(site, 100)
            server.stop()
            site.publish(lives(50, first=50))
            wait_logged(worker, "audit_store_away")
            result = site.lamplighter("audit", "list")
            assert (result.code, result.err.count("\n")) == (3, 1)
            server.start()
            wait_recorded(site, 200)
            site.wait_depth(topology.AUDIT_QUEUE, 0)


def test_two_outcomes_of_one_round_are_logged_and_recorded_with_an_alarm(
    site: Installation,
) -> None:
    asked = command()
    site.publish([published(event(Transition.COMPLETED, asked))])
    site.publish([published(event(Transition.FAILED, asked))])
    with site.start("worker", "audit") as worker:
        wait_logged(worker, "audit_conflict")
        wait_recorded(site, 3)  # the first outcome, the conflict, the alarm
