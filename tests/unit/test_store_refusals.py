"""What a database's own words lead to: those that a test's server cannot be made to say."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from workers.store.database import store_problem
from workers.store.refusals import remedied

# On SQLite: what each database says.

AT = 'connection failed: connection to server at "10.0.0.5", port 5432 failed: '
WORDS = [
    ('FATAL:  Peer authentication failed for user "lamplighter"', "run this as that user"),
    (
        'FATAL:  LDAP authentication failed for user "lamplighter"',
        "correct the user or the password",
    ),
    ('FATAL:  certificate authentication failed for user "x"', "sslcert and sslkey"),
    ("FATAL:  connection requires a valid client certificate", "sslcert and sslkey"),
    (
        'FATAL:  no pg_hba.conf entry for host "10.0.0.5", user "x", database "y", SSL encryption',
        "permit it in pg_hba.conf, and reload",
    ),
    ("SSL error: certificate verify failed", "check host, sslmode, sslrootcert"),
    ('server certificate for "db" does not match host name "10.0.0.5"', "check host, sslmode"),
    ('root certificate file "/root/.postgresql/root.crt" does not exist', "sslrootcert"),
    ("FATAL:  sorry, too many clients already", "raise max_connections"),
    (
        "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
        "raise max_connections",
    ),
    ("FATAL:  the database system is starting up", "wait until it has started"),
    ("FATAL:  the database system is shutting down", "wait until it has started"),
    ("FATAL:  the database system is in recovery mode", "wait until it has started"),
    ("session is read-only", "name the primary server"),
    ("FATAL:  Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen", "its log says why"),
    (
        "failed to resolve host 'db.invalid': [Errno -2] Name or service not known",
        "correct the host",
    ),
]


@pytest.mark.parametrize(("words", "remedy"), WORDS)
def test_each_refusal_has_its_own_remedy(words: str, remedy: str) -> None:
    error = sa.exc.OperationalError("SELECT 1", None, Exception(f"{AT}{words}\nwith details"))
    said = store_problem(error)
    assert said.startswith(f"{AT}{words}: ")
    assert remedy in said
    assert "start it" not in said


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("database is locked", "find the process"),
        ("database or disk is full", "free space"),
        ("disk I/O error", "check the disk"),
        ("attempt to write a readonly database", "let this user write"),
    ],
)
def test_what_sqlite_says_is_not_mended_by_starting_it(words: str, remedy: str) -> None:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = 1
    said = store_problem(sa.exc.OperationalError("SELECT 1", None, error))
    assert said.startswith(f"{words}: ")
    assert remedy in said
    with sqlite3.connect(":memory:") as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute("SELECT missing")
    connection.close()
    assert store_problem(sa.exc.OperationalError("SELECT", None, caught.value)) == (
        "no such column: missing"
    )


def test_the_values_of_a_statement_are_never_said() -> None:
    """Also where they look like a refusal."""
    answer = Exception("duplicate key\nDETAIL: (name)=(FATAL: authentication failed) exists")
    assert store_problem(sa.exc.IntegrityError("INSERT", None, answer)) == "duplicate key"


@given(st.text())
def test_any_words_give_one_line_or_nothing(words: str) -> None:
    assert "\n" not in (remedied(words) or "")
