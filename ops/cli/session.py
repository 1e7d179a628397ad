"""Gives a command the settings, the broker and the stores; each is opened when it is used."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote

import click
import sqlalchemy as sa

from ops.cli.errors import StoreMissingError
from ops.cli.terminal import warn
from producers.amqp import ConnectionParameters, connection_parameters
from producers.broker_settings import ConfigError
from producers.config_file import find_config, hooks_file
from producers.disk import open_file, require_usual, unusable, user_name
from schemas.roles import Role
from workers.broker.blocking import blocking_channel
from workers.config.settings import Settings, load
from workers.config.tables import LogSettings
from workers.process.logs import configure_logs
from workers.store.database import FIELDS, one_snapshot, open_store, sqlite_file
from workers.store.postgresql import postgresql_engine

if TYPE_CHECKING:
    from workers.broker.depths import QueueDepth
    from workers.tokens.client import TokenClient

StoreKind: TypeAlias = Literal["state", "audit"]
# the login uid of what no login started
_NO_LOGIN = 2**32 - 1
# Users inside, outside and their number; outside of all user namespaces, every user is itself.
_USER_MAP = Path("/proc/self/uid_map")
_ALL_USERS = ["0", "0", str(_NO_LOGIN)]


class Session:
    """One run of the command line."""

    def __init__(self, config: Path | None, role: Role | None = None) -> None:
        self.config = (config or find_config(os.environ)).absolute()
        self._role = role

    def of_role(self, role: Role) -> "Session":
        """The same command line with another role's broker user."""
        return self if self._role is role else Session(self.config, role)

    @cached_property
    def settings(self) -> Settings:
        """The contents of lamplighter.toml; a ConfigError names file, field and remedy.

        Operators who cannot read the operator's secret at the broker are readers. A warning says if
        the hooks read another file.
        """
        settings = self._load()
        if (other := hooks_file(self.config, settings.hook)) is not None:
            warn(
                f"two files: hooks read {other}, this command {self.config}; remove one of them, or set SLURM_CONF as slurmctld does"
            )
        return settings

    def _load(self) -> Settings:
        if self._role is not None:
            return load(self.config, role=self._role)
        settings = load(self.config)
        users = settings.broker.users
        if users is None or os.access(users.secret_file(Role.OPERATOR), os.R_OK):
            return settings
        if not os.access(users.secret_file(Role.READER), os.R_OK):
            return settings
        return load(self.config, role=Role.READER)

    def channel(self) -> AbstractContextManager[Any]:
        """A channel on a connection of its own; BrokerError if the broker is away or refuses."""
        return blocking_channel(self.broker)

    def depths(self) -> "list[QueueDepth]":
        """The counts of all queues; 0 for one without a leader. BrokerError as `channel`."""
        from workers.broker.depths import queue_depths  # noqa: PLC0415 - few commands need it

        with self.channel() as channel:
            return queue_depths(channel)

    def proven_depths(self) -> "list[QueueDepth]":
        """The counts of all queues, read after the proof that they are true; errors of `prove_health`."""
        self.prove_health(self.depths())
        return self.depths()

    def prove_health(self, depths: "Sequence[QueueDepth]") -> None:
        """Prove that the broker has a quorum and accepts messages; errors of health.prove_health."""
        from workers.broker.health import prove_health  # noqa: PLC0415 - few commands need it

        self.log_errors()
        prove_health(self.broker, depths)

    def token_client(self) -> "TokenClient":
        """A client of the token service, to use as a context manager."""
        from workers.tokens.client import TokenClient  # noqa: PLC0415 - few commands need it

        self.log_errors()
        return TokenClient(self.settings, f"operator {operator()}")

    @contextmanager
    def store(self, kind: StoreKind) -> Iterator[sa.Engine]:
        """A store, for writing; raises the same errors as `reading`, and ConfigError if this user may only look.

        To seal and to prune the audit log is the part of its tables' owner.
        """
        if kind == "state":
            self._require_operator()
        owner = self.of_role(Role.SETUP) if kind == "audit" else self
        with self.reading(kind):
            engine = open_store(owner.url(kind), kind)
        try:
            yield engine
        finally:
            engine.dispose()

    def _require_operator(self) -> None:
        """What a reader did would not be in the audit log, which a SQLite store of its group does not know."""
        broker = self.settings.broker
        if broker.users is not None and broker.role is Role.READER:
            file = broker.users.secret_file(Role.OPERATOR)
            raise ConfigError(
                f"broker.users.folder: {user_name()} cannot read {file}, and so may only look; run this as root"
            )

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction on the state store; raises the same errors as `reading`."""
        with self.store("state") as store, store.begin() as connection:
            yield connection

    @contextmanager
    def reading(self, kind: StoreKind, *, unchanged: bool = False) -> Iterator[sa.Connection]:
        """A read-only connection, which blocks no worker.

        `unchanged`: it reads the store as it is now, whatever is added or dropped meanwhile.

        Raises:
            StoreMissingError: no worker has created it yet.
            sqlalchemy.exc.OperationalError: it is unavailable.
        """
        engine = _reader(self.url(kind), FIELDS[kind])
        try:
            with _opened(engine, FIELDS[kind]) as connection:
                if unchanged:
                    one_snapshot(connection)
                table = "nodes" if kind == "state" else "audit"
                if not sa.inspect(connection).has_table(table):
                    raise StoreMissingError(
                        f"the {kind} store has no tables yet; start a worker first"
                    )
                yield connection
        finally:
            engine.dispose()

    def url(self, kind: StoreKind) -> str:
        """The SQLAlchemy URL of a store."""
        store = self.settings.store
        return store.url if kind == "state" else store.audit_url

    @cached_property
    def broker(self) -> ConnectionParameters:
        """How to connect to the broker; a ConfigError names file, field and remedy."""
        return connection_parameters(self.settings.broker, f"operator {operator()}")

    def log_errors(self) -> None:
        """Let the workers' code log to the operator's terminal, and errors only."""
        configure_logs(
            LogSettings(format="console", level="error"),
            role="operator",
            cluster=self.settings.cluster,
        )


@contextmanager
def _opened(engine: sa.Engine, field: str) -> Iterator[sa.Connection]:
    try:
        connection = engine.connect()
    except sa.exc.OperationalError as error:
        if engine.dialect.name != "sqlite":
            raise
        raise StoreMissingError(
            f"{field}: user {user_name()} cannot open it ({error.orig}): SQLite also writes files "
            "beside it; run this as the workers' user"
        ) from None
    with connection:
        yield connection


def _reader(url: str, field: str) -> sa.Engine:
    path = sqlite_file(url)
    if path is None:
        return postgresql_engine(url, execution_options={"postgresql_readonly": True})
    try:
        with open_file(path, "rb") as file:
            require_usual(os.fstat(file.fileno()).st_mode)
    except FileNotFoundError:
        raise StoreMissingError(
            f"{field}: {path} does not exist yet; start a worker first"
        ) from None
    except OSError as error:
        raise StoreMissingError(unusable(field, path, error)) from None
    # passed to SQLite directly: SQLAlchemy would decode special characters of the path twice
    return sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True),
        poolclass=sa.NullPool,
    )


def operator() -> str:
    """The operator's name for the audit log: the user, and who logged in as another one before.

    The kernel keeps the user of the login (pam_loginuid(8)). Without it, as in containers, only root
    is believed which user called sudo: everybody else could write that name. In a user namespace
    (user_namespaces(7)) everybody can be root or any user, so no more is said than that.
    """
    user = user_name(os.getuid())
    if not _users_are_the_hosts():
        return f"{user} (in a user namespace)"
    behind = _login_user()
    if behind is None and os.getuid() == 0:
        behind = os.environ.get("SUDO_USER")
    return f"{behind} (as {user})" if behind and behind != user else user


def _users_are_the_hosts() -> bool:
    try:
        return _USER_MAP.read_text(encoding="ascii").split() == _ALL_USERS
    except OSError:  # a kernel without user namespaces
        return True


def _login_user() -> str | None:
    try:
        uid = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _NO_LOGIN else user_name(uid)


pass_session = click.make_pass_decorator(Session)
