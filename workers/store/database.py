"""Opens a store, and hides what differs between SQLite and PostgreSQL."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from producers.disk import require_writable, unusable
from producers.settings import ConfigError
from workers.store import tables as t
from workers.store.postgresql import postgresql_engine
from workers.store.refusals import remedied

FIELDS = {"state": "store.url", "audit": "store.audit_url"}
_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30
_IDLE_TRANSACTION_SECONDS = 10
# PostgreSQL's insufficient_privilege (Appendix A of its manual).
NOT_ALLOWED = "42501"
# A session that may only read, or whose time for statements or locks is too short: an administrator's
# remedy counts for sessions that begin later.
_OLD_SETTINGS = {"25006", "57014", "55P03"}
_READ_ONLY = "lamplighter_read_only"

# The errors that mean "the store is unavailable": errors of the database, and no free connection.
STORE_ERRORS = (sa.exc.DBAPIError, sa.exc.TimeoutError)

GRANT = "run lamplighter database roles --apply"

_UNUSABLE = {
    sqlite3.SQLITE_NOTADB: "is not a database of SQLite; name another file, or restore a backup",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a backup (docs/operations.md)",
}

DIALECTS = "sqlite", "postgresql"
# SQLAlchemy has one class for each dialect.
Upsert: TypeAlias = postgresql.Insert | sqlite.Insert


def open_store(url: str, kind: Literal["state", "audit"]) -> sa.Engine:
    """Connect to the store at `url` and migrate its tables to the newest version.

    SQLite runs in WAL mode with synchronous=FULL: a committed transaction survives a power cut.
    Each write transaction starts with BEGIN IMMEDIATE, so that no two of them read first and write
    later.

    Raises:
        ConfigError: SQLite's file or its folder cannot be used by this user, the file is damaged or no
            database, its tables are another program's, or a newer version has migrated the store.
        sqlalchemy.exc.OperationalError: the database cannot be reached.
    """
    if (file := sqlite_file(url)) is not None:
        try:
            require_writable(file)
        except OSError as error:
            raise ConfigError(unusable(FIELDS[kind], file, error)) from None
    engine = connect(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(5782391)"))
            found, newest = versions(connection, kind)
            if found is None:
                _require_own(connection, kind)
            if found != newest:
                migrate(connection, kind)
    except BaseException as error:
        engine.dispose()
        if (code := getattr(getattr(error, "orig", None), "sqlite_errorcode", None)) in _UNUSABLE:
            raise ConfigError(f"{FIELDS[kind]}: {file} {_UNUSABLE[code]}") from None
        raise
    return engine


def _require_own(connection: sa.Connection, kind: str) -> None:
    """Check that tables of ours which no migration of ours has made are not there; ConfigError if they are."""
    ours = t.STATE.tables if kind == "state" else t.AUDIT.tables
    if found := sorted(ours.keys() & set(sa.inspect(connection).get_table_names())):
        raise ConfigError(
            f"{FIELDS[kind]}: this database has tables of another program ({', '.join(found)}): name one of "
            "its own, or restore a backup"
        )


def versions(connection: sa.Connection, kind: str) -> tuple[str | None, str]:
    """The version of the tables, as Alembic has recorded it, and that of the last migration."""
    newest = max(file.name.partition("_")[0] for file in (_MIGRATIONS / kind).glob("[0-9]*.py"))
    version = sa.table(f"{kind}_version", sa.column("version_num"))
    if not sa.inspect(connection).has_table(version.name):
        return None, newest
    return connection.scalar(sa.select(version.c.version_num)), newest


def migrate(
    connection: sa.Connection,
    kind: Literal["state", "audit"],
    to: str = "head",
    *,
    back: bool = False,
) -> None:
    """Bring the tables forward, or `back`, to the version `to`.

    Raises:
        ConfigError: a newer version has migrated the store, or this user may not.
    """
    # only now: importing Alembic takes a sixth of a second and 18 MB
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("path_separator", "newline")
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(_MIGRATIONS / kind))
    config.attributes["connection"] = connection
    config.attributes["kind"] = kind
    try:
        (command.downgrade if back else command.upgrade)(config, to)
    except sa.exc.ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != NOT_ALLOWED:
            raise
        raise ConfigError(
            f"{FIELDS[kind]}: this database user may not create the tables of this version: {GRANT}, "
            "before the workers start"
        ) from None
    except CommandError as error:
        raise ConfigError(
            f"{FIELDS[kind]}: a newer version of Lamplighter has changed this store ({error}); "
            "install that version, or restore a backup"
        ) from None


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite store; None for another database, or one in memory."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return None
    return Path(str(parsed.database))


def connect(url: str) -> sa.Engine:
    """The engine alone, for callers that must not change the tables.

    PostgreSQL ends a transaction that is idle for _IDLE_TRANSACTION_SECONDS: its process or host is
    frozen, and its row locks would block all other workers.

    Raises:
        ConfigError: as postgresql_engine.
    """
    if not url.startswith("sqlite"):
        engine = postgresql_engine(url, pool_pre_ping=True)
        sa.event.listen(engine, "connect", _prepare_postgresql)
        sa.event.listen(engine, "handle_error", _note_error)
        return engine
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def store_problem(error: BaseException) -> str:
    """Why the store cannot be used, in words, with the remedy; never a statement or its values."""
    cause = getattr(error, "orig", None) or error
    words = str(cause).strip().partition("\n")[0] or type(cause).__name__
    code = getattr(cause, "sqlstate", None)
    if code == NOT_ALLOWED:
        who, what = getattr(error, "detail", ["this user"])[-1], getattr(error, "statement", "")
        return (
            f"the database role {who} lacks a right: {words} ({what.split(maxsplit=1)[0]}): {GRANT}"
        )
    # the further lines of an answer to a statement hold its values
    if isinstance(error, (sa.exc.OperationalError, sa.exc.InternalError)) and (
        refused := remedied(words if code else str(cause))
    ):
        return refused
    # libpq says so of an option that it does not know, too
    silent = isinstance(error, (sa.exc.OperationalError, sa.exc.ProgrammingError)) and not code
    if silent and not hasattr(cause, "sqlite_errorcode"):
        return f"{words}: start it, or check store.url and store.audit_url"
    return words


def _note_error(context: sa.engine.ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) in _OLD_SETTINGS:
        context.is_disconnect = True
    error = context.sqlalchemy_exception
    if error is not None and context.engine is not None:
        error.add_detail(context.engine.url.username or "of this process")


def _prepare_postgresql(connection: object, _record: object) -> None:
    # Set here and not in the URL's options, which belong to the administrator.
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_TRANSACTION_SECONDS}s'")
    cursor.close()
    connection.commit()  # type: ignore[attr-defined]


def _prepare_sqlite(connection: object, _record: object) -> None:
    # The driver would send a deferred BEGIN, and too late; _begin_immediate sends ours.
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
    """A read-only connection: in SQLite it neither waits for writers nor blocks them."""
    with engine.connect().execution_options(**{_READ_ONLY: True}) as connection:
        yield connection


def one_snapshot(connection: sa.Connection) -> None:
    """Let all of a connection's next transaction read the store as its first statement finds it."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ")
    else:
        connection.exec_driver_sql("BEGIN")


def store_clock(dialect: str) -> sa.ColumnElement[int]:
    """Milliseconds since the epoch by the store's clock, as an SQL expression."""
    clock = "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)"
    if dialect == "postgresql":
        clock = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    return sa.literal_column(clock, sa.BigInteger)


def among(
    dialect: str, column: sa.ColumnElement[str], values: Iterable[str] | None = None
) -> sa.ColumnElement[bool]:
    """Whether a column's value is in a list of any length: these values, or the parameter `values`.

    A list of single parameters would be as long as the statement that holds them may be, at most.
    """
    kind = postgresql.ARRAY(sa.Text) if dialect == "postgresql" else sa.JSON()
    listed = sa.bindparam("values", type_=kind)
    if values is not None:
        listed = sa.literal(list(values), kind)
    if dialect == "postgresql":
        return column == sa.any_(listed)
    rows = sa.func.json_each(listed).table_valued("value")
    return column.in_(sa.select(rows.c.value))


def insert(dialect: str, table: sa.Table) -> Upsert:
    """An INSERT into `table` with the `on_conflict_...` methods of a dialect."""
    if dialect == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def upsert(
    dialect: str,
    table: sa.Table,
    *names: str,
    where: Callable[[Any], sa.ColumnElement[bool]] | None = None,
) -> Upsert:
    """An INSERT that replaces columns (by default all) of a row that has the same primary key.

    `where` makes the condition of the replacement from the new row's columns.
    """
    statement = insert(dialect, table)
    new = statement.excluded
    replaced = names or [column.name for column in table.c if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: new[name] for name in replaced},
        where=None if where is None else where(new),
    )
