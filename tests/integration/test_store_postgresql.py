"""No setting of a PostgreSQL, and no pooler before it, changes what the stores rely on: real server."""

from __future__ import annotations

import socket
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier

from producers.settings import ConfigError
from tests.testbed.auditlog import fill
from tests.testbed.installation import Installation
from tests.testbed.waiting import until
from workers.audit.queries import Filter, find
from workers.store.database import connect, open_store, reading, store_problem
from workers.store.holds import Hold, place
from workers.store.tables import holds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg.rows import TupleRow

    from tests.testbed.postgresql import PostgreSQL

LATIN1 = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
# No character of LATIN1, and letters that have other capitals in Turkish.
REASON = "\u4e2d I\u011fd\u0131r"


@pytest.mark.parametrize(
    "options",
    [
        # of a cluster that Debian made without a locale
        "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0",
        "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' TEMPLATE template0",
    ],
    ids=["SQL_ASCII", "tr_TR"],
)
def test_a_database_of_any_locale_keeps_all_text(
    postgresql: PostgreSQL, options: LiteralString
) -> None:
    url = postgresql.create_database(options)
    state, log = open_store(url, "state"), open_store(url, "audit")
    fill(log, 2)
    with state.begin() as connection:
        place(connection, "test", [Hold("node-I", REASON, "İ", 1)])
        row = connection.execute(sa.select(holds.c.node, holds.c.reason, holds.c.placed_by)).one()
        assert tuple(row) == ("node-I", REASON, "İ")
    with reading(log) as connection:
        assert {one.subject for one in find(connection, Filter())} == {"node1", "node2"}
    for store in (state, log):
        store.dispose()


def test_a_database_that_cannot_hold_all_text_is_refused_with_its_remedy(
    postgresql: PostgreSQL, run_dir: Path
) -> None:
    """By workers, which would fail at the first name, and by commands."""
    url = postgresql.create_database(LATIN1)
    site = Installation(run_dir / "site", "amqp://x:y@127.0.0.1:1/v", store=f'url = "{url}"')
    with pytest.raises(
        ConfigError, match=r"encoding LATIN1, .* ENCODING 'UTF8' TEMPLATE template0"
    ):
        open_store(url, "state")
    for command in (("worker", "power"), ("nodes", "list")):
        done = site.lamplighter(*command)
        assert (done.code, "encoding LATIN1" in done.err, "Traceback" in done.err) == (
            2,
            True,
            False,
        )


def test_a_pooler_may_give_each_transaction_another_connection(postgresql: PostgreSQL) -> None:
    """Such as PgBouncer by transactions: what an earlier transaction left in its session is not there."""
    store = open_store(postgresql.create_database(), "audit")
    for _ in range(20):
        with store.begin() as connection:
            connection.execute(sa.text("SELECT :one"), {"one": 1})
        with store.connect() as connection:
            left = "SELECT count(*) FROM pg_prepared_statements"
            assert connection.scalar(sa.text(left)) == 0
    store.dispose()


def test_transactions_see_what_others_have_committed_whatever_the_roles_default_is(
    postgresql: PostgreSQL,
) -> None:
    url = postgresql.create_database()
    with setting(url, "default_transaction_isolation", "serializable"):
        store = open_store(url, "state")
        for opened in (store.begin, lambda: reading(store)):
            with opened() as connection:
                assert connection.scalar(sa.text("SHOW transaction_isolation")) == "read committed"
        store.dispose()


@pytest.mark.parametrize(
    ("more", "idle", "unanswered"), [("", 15, 30_000), ("&keepalives_idle=9", 9, 30_000)]
)
def test_a_network_that_is_gone_is_noticed_in_seconds(
    postgresql: PostgreSQL, more: str, idle: int, unanswered: int
) -> None:
    """By default the kernel would wait for two hours; an administrator's own times count."""
    store = connect(f"{postgresql.create_database()}{more}")
    with store.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        with closing(socket.socket(fileno=raw.fileno())) as shared:
            options = [
                shared.getsockopt(socket.IPPROTO_TCP, one)
                for one in (socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)
            ]
            shared.detach()
    assert options == [idle, unanswered]
    store.dispose()


@pytest.mark.parametrize(
    "name", ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
)
def test_a_timeout_of_the_server_is_named_with_its_remedy(
    postgresql: PostgreSQL, name: LiteralString
) -> None:
    url = postgresql.create_database()
    with setting(url, name, "100ms") as administrator:
        administrator.execute("SELECT pg_advisory_lock(1)")
        store = sa.create_engine(url)
        with pytest.raises(sa.exc.DBAPIError) as caught:
            run_into(name, store, administrator)
        store.dispose()
    said = store_problem(caught.value)
    assert "timeout: raise that timeout for this role (ALTER ROLE ... SET)" in said


@pytest.mark.parametrize(
    ("name", "value"), [("statement_timeout", "100ms"), ("default_transaction_read_only", "on")]
)
def test_a_remedy_counts_without_a_restart(
    postgresql: PostgreSQL, name: LiteralString, value: LiteralString
) -> None:
    url = postgresql.create_database()
    with setting(url, name, value) as administrator:
        store = connect(url)
        with pytest.raises(sa.exc.DBAPIError), store.begin() as connection:
            connection.execute(sa.text("CREATE TABLE found AS SELECT 1 FROM pg_sleep(60)"))
        database = Identifier(administrator.info.dbname)
        administrator.execute(SQL("ALTER DATABASE {} RESET ALL").format(database))
        with store.begin() as connection:
            assert connection.scalar(sa.text(f"SHOW {name}")) in {"0", "off"}
        store.dispose()


def run_into(name: str, store: sa.Engine, administrator: psycopg.Connection[TupleRow]) -> None:
    """Take so long that this setting counts."""
    with store.begin() as connection:
        if name == "statement_timeout":
            connection.execute(sa.text("SELECT pg_sleep(60)"))
        if name == "lock_timeout":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(1)"))
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        lives = "SELECT FROM pg_stat_activity WHERE pid = %s"
        until(
            lambda: administrator.execute(lives, (pid,)).rowcount == 0, 20, "the server to end it"
        )
        connection.execute(sa.text("SELECT 1"))


@contextmanager
def setting(
    url: str, name: LiteralString, value: LiteralString
) -> Iterator[psycopg.Connection[TupleRow]]:
    """An administrator's connection, and a setting of the database for all later ones."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as administrator:
        database = Identifier(administrator.info.dbname)
        change = SQL("ALTER DATABASE {} SET {} = {}")
        administrator.execute(change.format(database, Identifier(name), value))
        yield administrator
