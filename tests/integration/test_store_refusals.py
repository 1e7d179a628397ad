"""A PostgreSQL that refuses a login says why, and each reason has its own remedy: real server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

from ops.cli.errors import EXIT_AWAY, explain
from tests.testbed.waiting import until
from workers.store import heartbeats
from workers.store.database import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.testbed.postgresql import PostgreSQL

PREPARED = """
CREATE ROLE border LOGIN PASSWORD 'right';
CREATE ROLE border_former LOGIN PASSWORD 'right' VALID UNTIL '2001-01-01';
CREATE ROLE border_nologin PASSWORD 'right';
CREATE ROLE border_many LOGIN PASSWORD 'right' CONNECTION LIMIT 0;
CREATE ROLE border_rejected LOGIN PASSWORD 'right';
CREATE ROLE border_tls LOGIN PASSWORD 'right';
CREATE DATABASE border_private;
REVOKE CONNECT ON DATABASE border_private FROM PUBLIC;
CREATE DATABASE border_closed ALLOW_CONNECTIONS false
"""
REMOVED = """
DROP DATABASE border_closed;
DROP DATABASE border_private;
DROP ROLE border, border_former, border_nologin, border_many, border_rejected, border_tls
"""
RULES = """\
host all border_rejected all reject
hostssl all border_tls all scram-sha-256
host all border_nobody all trust
host all lamplighter,border,border_former,border_nologin,border_many all scram-sha-256
"""
CASES = [
    ("border:wrong", "{database}", "password authentication failed", "or set it with ALTER ROLE"),
    (
        "border_former:right",
        "{database}",
        "password authentication failed",
        "or set it with ALTER ROLE",
    ),
    ("border", "{database}?passfile=/nonexistent", "no password supplied", "name a passfile"),
    ("border_nobody", "{database}", "does not exist", "lamplighter database roles --create"),
    ("border_nologin:right", "{database}", "not permitted to log in", "database roles --create"),
    ("border_many:right", "{database}", "too many connections for role", "raise max_connections"),
    ("border_rejected:right", "{database}", "pg_hba.conf rejects", "permit it in pg_hba.conf"),
    ("border_tls:right", "{database}", "no pg_hba.conf entry", "sslmode=verify-full"),
    ("border:right", "{database}?sslmode=require", "does not support SSL", "switch ssl on"),
    ("border:right", "border_missing", "does not exist", "create it, or correct its name"),
    ("border:right", "border_private", "permission denied", "GRANT CONNECT"),
    ("border:right", "border_closed", "not currently accepting", "ALLOW_CONNECTIONS true"),
    ("border:right", "{database}?sslmode=off", "invalid sslmode", "check host, sslmode"),
    ("border:right", "{database}?service=border", "definition of service", "PGSERVICEFILE"),
]


@pytest.fixture(scope="module")
def server(postgresql: PostgreSQL) -> Iterator[sa.URL]:
    """An empty database of a server that refuses the roles of PREPARED."""
    url = postgresql.create_database()
    plain = url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:

        def ask(query: str) -> str:
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            return str(row[0])

        def rule(text: str) -> None:
            file.write_text(text)
            loaded = ask("SELECT pg_conf_load_time()")
            ask("SELECT pg_reload_conf()")
            until(lambda: ask("SELECT pg_conf_load_time()") != loaded, 10.0, "the new rules")

        file = Path(ask("SHOW hba_file"))
        former = file.read_text()
        for statement in PREPARED.split(";"):
            connection.execute(statement.encode())
        rule(RULES)
        yield sa.make_url(url)
        rule(former)
        for statement in REMOVED.split(";"):
            connection.execute(statement.encode())


def refused(url: str) -> Exception:
    store = connect(url)
    with pytest.raises(sa.exc.OperationalError) as caught, store.connect():
        pass
    store.dispose()
    return caught.value


@pytest.mark.parametrize(("login", "place", "words", "remedy"), CASES)
def test_a_refused_login_says_what_to_do(
    server: sa.URL, login: str, place: str, words: str, remedy: str
) -> None:
    """In commands and in the worker's state, which `status` shows."""
    address = f"{login}@{server.host}:{server.port}"
    error = refused(f"postgresql+psycopg://{address}/{place.format(database=server.database)}")
    explained = explain(error)
    assert explained is not None
    line, code = explained
    assert code == EXIT_AWAY
    for said in (line, heartbeats.store_away(error)):
        assert words in said
        assert remedy in said
        assert "start it" not in said
        assert "right" not in said.replace("a right", "")
    assert "\n" not in line


def test_of_several_addresses_the_refusal_is_said_wherever_it_came_from(server: sa.URL) -> None:
    refusing, dead = f"{server.host}:{server.port}", f"{server.host}:1"
    for first, second in ((refusing, dead), (dead, refusing)):
        place = f"{server.database}?host={first}&host={second}"
        said = heartbeats.store_away(refused(f"postgresql+psycopg://border:wrong@/{place}"))
        assert "password authentication failed" in said
        assert "or set it with ALTER ROLE" in said


def test_a_server_that_does_not_answer_is_to_be_started(server: sa.URL) -> None:
    said = heartbeats.store_away(
        refused(f"postgresql+psycopg://border:right@{server.host}:1/{server.database}")
    )
    assert "Connection refused" in said
    assert said.endswith("start it, or check store.url and store.audit_url")
