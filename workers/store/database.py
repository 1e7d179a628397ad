"""Opens a store: engine options per database, migrations, and a clock that all workers share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30
_FROZEN_SECONDS = 10
_READ_ONLY = "lamplighter_read_only"

# What says that the store is away: the database's own errors, and that it keeps us waiting.
AWAY = (sa.exc.DBAPIError, sa.exc.TimeoutError)


def open_store(url: str, kind: Literal["state", "audit"]) -> sa.Engine:
    """The engine of the store at `url`, its tables brought up to date.

    SQLite runs in WAL mode with synchronous=FULL: what a worker was told is committed survives
    a power cut. Writers begin with BEGIN IMMEDIATE, so that two never both read, then write.

    Raises:
        sqlalchemy.exc.OperationalError: the database cannot be reached.
    """
    # a sixth of a second that nobody who only reads should wait for
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    engine = connect(url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(5782391)"))
        config = Config()
        config.set_main_option("path_separator", "newline")
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.set_main_option("version_locations", str(_MIGRATIONS / kind))
        config.attributes["connection"] = connection
        config.attributes["kind"] = kind
        command.upgrade(config, "head")
    return engine


def connect(url: str) -> sa.Engine:
    """The engine alone, for callers that must not change the tables.

    PostgreSQL ends a transaction of ours in which nothing happens for _FROZEN_SECONDS: its process
    is frozen, or its host is, and the rows that it has locked would hold up all other workers.
    """
    if not url.startswith("sqlite"):
        engine = sa.create_engine(url, pool_pre_ping=True)
        sa.event.listen(engine, "connect", _prepare_postgresql)
        return engine
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_postgresql(connection: object, _record: object) -> None:
    # Said here and not in the URL's options, which are the administrator's.
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{_FROZEN_SECONDS}s'")
    cursor.close()
    connection.commit()  # type: ignore[attr-defined]


def _prepare_sqlite(connection: object, _record: object) -> None:
    # The driver's own BEGIN is deferred and comes late; ours is said in _begin_immediate.
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get(_READ_ONLY):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that only reads: in SQLite it neither waits for writers nor holds them up."""
    with engine.connect().execution_options(**{_READ_ONLY: True}) as connection:
        yield connection


def store_clock(dialect: str) -> sa.ColumnElement[int]:
    """Milliseconds since the epoch on the store's own clock, as an SQL expression."""
    if dialect == "postgresql":
        return sa.literal_column(
            "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)", sa.BigInteger
        )
    return sa.literal_column(
        "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)", sa.BigInteger
    )
