"""What a command of the operator's works with: settings, broker, stores; each opened when used."""

import os
import pwd
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import click
import sqlalchemy as sa

from ops.cli.errors import StoreMissingError
from producers.amqp import connection_parameters
from producers.settings import find_config
from workers.broker.blocking import blocking_channel
from workers.config.settings import Settings, load
from workers.config.tables import LogSettings
from workers.process.logs import configure_logs
from workers.store.database import open_store

if TYPE_CHECKING:
    from workers.dead_letters.queue import DeadLetterQueue
    from workers.tokens.client import TokenClient


_CONNECT_SECONDS = 10


class Session:
    """One call of the command line."""

    def __init__(self, config: Path | None) -> None:
        self.config = config or find_config(os.environ)

    @cached_property
    def settings(self) -> Settings:
        """All that lamplighter.toml says.

        Raises:
            ConfigError: naming the file, the field and the remedy.
        """
        return load(self.config)

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel of a connection of its own.

        Raises:
            BrokerError: the broker is away or refuses.
        """
        parameters = connection_parameters(self.settings.broker, f"operator {operator()}")
        with blocking_channel(parameters) as channel:
            yield channel

    @contextmanager
    def desk(self) -> "Iterator[DeadLetterQueue]":
        """The dead letters.

        Raises:
            BrokerError: the broker is away or refuses.
        """
        from workers.dead_letters.queue import DeadLetterQueue  # noqa: PLC0415 - few commands need it

        self._log_errors()
        parameters = connection_parameters(self.settings.broker, f"operator {operator()}")
        with DeadLetterQueue(parameters, self.settings.cluster) as desk:
            yield desk

    @contextmanager
    def token_client(self) -> "Iterator[TokenClient]":
        """A way to ask the token service."""
        from workers.tokens.client import TokenClient  # noqa: PLC0415 - few commands need it

        self._log_errors()
        with TokenClient(self.settings, f"operator {operator()}") as client:
            yield client

    def store(self) -> sa.Engine:
        """The state store, for writing.

        Raises:
            StoreMissingError: no worker has made it yet.
            sqlalchemy.exc.OperationalError: it is away.
        """
        with self.reading("state"):
            return open_store(self.settings.store.url, "state")

    def audit_store(self) -> sa.Engine:
        """The audit's store, for writing.

        Raises:
            StoreMissingError: no worker has made it yet.
            sqlalchemy.exc.OperationalError: it is away.
        """
        with self.reading("audit"):
            return open_store(self.settings.store.audit_url, "audit")

    @contextmanager
    def reading(self, kind: Literal["state", "audit"]) -> Iterator[sa.Connection]:
        """A connection that only reads, and holds up no worker.

        Raises:
            StoreMissingError: no worker has made it yet.
            sqlalchemy.exc.OperationalError: it is away.
        """
        store = self.settings.store
        url = store.url if kind == "state" else store.audit_url
        engine = _reader(url)
        try:
            with engine.connect() as connection:
                table = "nodes" if kind == "state" else "audit"
                if not sa.inspect(connection).has_table(table):
                    raise StoreMissingError(
                        f"the {kind} store has no tables yet; start a worker first"
                    )
                yield connection
        finally:
            engine.dispose()

    def _log_errors(self) -> None:
        """What the workers' parts log is for people here, and only where something is wrong."""
        configure_logs(
            LogSettings(format="console", level="error"),
            role="operator",
            cluster=self.settings.cluster,
        )


def _reader(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(
            parsed,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
            execution_options={"postgresql_readonly": True},
        )
    path = Path(parsed.database or "")
    if not path.is_file():
        raise StoreMissingError(f"{path} does not exist yet; start a worker first")
    # Said to SQLite itself: in SQLAlchemy's URL, odd characters of a path would be read twice.
    return sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True),
        poolclass=sa.NullPool,
    )


def operator() -> str:
    """Who is at the keyboard, for the audit: the login name, and whose rights it borrowed."""
    user = pwd.getpwuid(os.getuid()).pw_name
    behind = os.environ.get("SUDO_USER")
    return f"{behind} (as {user})" if behind and behind != user else user


pass_session = click.make_pass_decorator(Session)
