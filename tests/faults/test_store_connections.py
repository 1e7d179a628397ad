"""PostgreSQL ends connections at any statement, takes none, or takes no writes: nothing is lost."""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier

from tests.testbed.postgresql import PostgreSQL
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES = 20


@pytest.fixture
def server(run_dir: Path) -> Iterator[PostgreSQL]:
    with PostgreSQL(run_dir / "postgresql") as running:
        yield running


@pytest.fixture
def system(run_dir: Path, broker_url: str, server: PostgreSQL) -> Iterator[WholeSystem]:
    store = server.create_database(), server.create_database()
    plan = SystemPlan(nodes=NODES, store=store)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as running:
        yield running


@contextmanager
def administrator(system: WholeSystem) -> Iterator[psycopg.Connection]:
    """In another database of the server, so that what befalls the stores does not befall it."""
    url = sa.make_url(system.settings.store.url).set(drivername="postgresql", database="postgres")
    address = url.render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def databases(system: WholeSystem) -> list[str]:
    store = system.settings.store
    return [str(sa.make_url(url).database) for url in (store.url, store.audit_url)]


def end_connections(connection: psycopg.Connection, chance: float, names: list[str]) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = ANY(%s) AND random() < %s",
        (names, chance),
    )


def test_connections_that_end_at_any_statement_lose_nothing(system: WholeSystem) -> None:
    """Also within and after COMMIT, when nobody knows whether it counts."""
    over, names = threading.Event(), databases(system)

    def end_some() -> None:
        pause = random.Random(8)  # noqa: S311 - seeded, so that a failure comes again
        with administrator(system) as connection:
            while not over.wait(pause.uniform(0.0, 0.3)):
                end_connections(connection, 0.5, names)

    ending = threading.Thread(target=end_some)
    ending.start()
    try:
        system.request("resume")
        until(lambda: set(system.statuses().values()) == {"ACTIVE"}, 120, "the boots")
        system.request("suspend")
        until(lambda: set(system.statuses().values()) == {"SHUTOFF"}, 120, "the stops")
    finally:
        over.set()
        ending.join()
    system.settle(120)
    system.check()
    # a boot whose completion was not yet stored is superseded by the suspend
    assert system.outcomes().keys() <= {"completed", "superseded"}
    assert system.outcomes().total() == 2 * NODES
    assert (system.cloud.counts()["start"], system.cloud.counts()["stop"]) == (NODES, NODES)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("ALLOW_CONNECTIONS {}", "ALLOW_CONNECTIONS true"),
        ("SET default_transaction_read_only = {}", "target_session_attrs=read-write"),
    ],
    ids=["closed", "read-only"],
)
def test_workers_go_on_by_themselves_once_the_database_takes_their_writes_again(
    system: WholeSystem, trouble: str, words: str
) -> None:
    """Connections that began while it took none must not last: the server has become a standby, say."""
    closes = trouble.startswith("ALLOW")

    def change(connection: psycopg.Connection, *, bad: bool) -> None:
        value = "false" if bad and closes else "true" if closes or bad else "false"
        for name in databases(system):
            change_ = SQL(f"ALTER DATABASE {{}} {trouble.format(value)}")
            connection.execute(change_.format(Identifier(name)))

    with administrator(system) as connection:
        change(connection, bad=True)
        end_connections(connection, 1.0, databases(system))
        system.request("resume")
        until(lambda: words in system.log("power"), 60, "the power worker to say why")
        until(lambda: words in system.log("audit"), 60, "the audit worker to say why")
        change(connection, bad=False)
    system.settle(120)
    system.check()
    assert system.outcomes() == {"completed": NODES}
