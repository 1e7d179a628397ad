"""Run a private PostgreSQL of the system's package: on loopback, with its own port and folder."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, LiteralString, Self

import psutil
import psycopg
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier

from ops.site.database_roles import grant
from schemas.roles import Role
from tests.testbed.ports import Ports
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.waiting import until
from workers.store.access import creations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Debian installs the server's programs here and not on the PATH.
_DEBIAN = Path("/usr/lib/postgresql")
_UNPRIVILEGED = "postgres"
_SUPERUSER = "lamplighter"


class PostgreSQL:
    """A private server; use as a context manager.

    PostgreSQL refuses to run as root. If we are root, it runs as the package's user.

    Args:
        folder: for all its files; that user must be able to reach it.
        environment: more variables of the server's environment.
        settings: more settings, such as `max_wal_size=64MB`; by default nothing is synced to the disk:
            what a killed server has written is there all the same.
        encoding: of new databases.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        settings: Sequence[str] = ("fsync=off", "full_page_writes=off"),
        encoding: str = "UTF8",
    ) -> None:
        self.folder = folder
        self._environment = {**MINIMAL_ENVIRONMENT, **(environment or {})}
        self._settings = [word for setting in settings for word in ("-c", setting)]
        self._encoding = encoding
        self._programs = _programs()
        self._ports = Ports()
        self._port = self._ports.take()
        self._password = secrets.token_urlsafe(18)
        self._server: Child | None = None

    def create_database(self, options: LiteralString = "") -> str:
        """Create an empty database, with further options; return its SQLAlchemy URL."""
        name = f"test_{secrets.token_hex(6)}"
        create = SQL("CREATE DATABASE {} ").format(Identifier(name)) + SQL(options)
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(create)
        return self._address(name).replace("postgresql://", "postgresql+psycopg://")

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` has made; it may be in use."""
        drop = SQL("DROP DATABASE {} WITH (FORCE)").format(
            Identifier(str(sa.make_url(url).database))
        )
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(drop)

    def close_database(self, url: str) -> None:
        """Let nobody connect to a database any more; end the connections there are."""
        name = sa.make_url(url).database
        close = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(str(name)))
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(close)
            connection.execute(end, (name,))

    def create_role_databases(self) -> tuple[str, str]:
        """Create two databases with a user for each role; the URLs of both, with `{role}`.

        The tables are those of `lamplighter database roles --apply`, which is left to the caller.
        """
        run = f"test_{secrets.token_hex(4)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            for statement in creations(lambda role: f"{run}_{role}"):
                connection.execute(statement.encode())
            for role in Role:
                user = Identifier(f"{run}_{role}")
                with suppress(psycopg.errors.UndefinedObject):  # it needs no database
                    connection.execute(
                        SQL("ALTER ROLE {} PASSWORD {}").format(user, self._password)
                    )
            for kind in ("state", "audit"):
                create = SQL("CREATE DATABASE {} OWNER {}")
                owner = Identifier(f"{run}_{Role.SETUP}")
                connection.execute(create.format(Identifier(f"{run}_{kind}"), owner))
        place = self._address(f"{run}_X").replace("postgresql://", "postgresql+psycopg://")
        place = place.replace(f"{_SUPERUSER}@", f"{run}_{{role}}@", 1)
        return place.replace("_X?", "_state?"), place.replace("_X?", "_audit?")

    @property
    def log(self) -> str:
        """All that it has logged."""
        return (self.folder / "postgres.log").read_text()

    def start(self) -> None:
        """Start it and wait until it accepts logins.

        Raises:
            RuntimeError: it has ended; the message holds the end of its log.
        """
        argv = [
            str(self._programs / "postgres"),
            *("-D", str(self.folder / "data"), "-p", str(self._port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
            *self._settings,
        ]
        self._server = Child(
            _unprivileged(argv), log=self.folder / "postgres.log", env=self._environment
        )
        until(self._answers, 30.0, "the private PostgreSQL")

    def stop(self) -> None:
        """Stop it and close all its connections."""
        if self._server is not None:
            # PostgreSQL's "fast shutdown"; a killed server would leave its shared memory behind.
            self._server.send(signal.SIGINT)
            self._server.stop()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill all its processes, as `kill -9` does."""
        if self._server is not None:
            self._server.kill_session()

    def freeze(self) -> None:
        """Stop all its processes with SIGSTOP: connections stay open, and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def mend(self) -> None:
        """Let it run, if it is frozen, was killed, or has ended by itself."""
        if self._server is not None and self._server.running:
            self._signal_all(signal.SIGCONT)
        else:
            self.kill()
            self.start()

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._server is not None
        server = psutil.Process(self._server.pid)
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        password = self.folder / "password"
        password.write_text(self._password)
        pgpass = self.folder / "pgpass"
        pgpass.touch(mode=0o600)
        pgpass.write_text(f"*:*:*:*:{self._password}\n")
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, _UNPRIVILEGED)
        done = subprocess.run(
            _unprivileged(
                [
                    str(self._programs / "initdb"),
                    *("-D", str(self.folder / "data"), "-U", _SUPERUSER, "--auth=scram-sha-256"),
                    *(
                        "--pwfile",
                        str(password),
                        "--no-sync",
                        f"--encoding={self._encoding}",
                        "--locale=C",
                    ),
                ]
            ),
            check=False,
            capture_output=True,
            text=True,
            env=dict(MINIMAL_ENVIRONMENT),
            cwd=self.folder,
        )
        if done.returncode:
            self._ports.close()
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._ports.close()

    def _answers(self) -> bool:
        if self._server is not None:
            self._server.require_running()
        try:
            psycopg.connect(self._address("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _address(self, database: str) -> str:
        place = f"{_SUPERUSER}@127.0.0.1:{self._port}/{database}"
        return f"postgresql://{place}?passfile={self.folder / 'pgpass'}"


def as_role(url: str, role: Role) -> str:
    """The URL for a process of this role."""
    return url.replace("{role}", role)


def grant_roles(urls: tuple[str, str]) -> None:
    """Make tables and grant what the roles may do, as `lamplighter database roles --apply` does."""
    kinds: tuple[Literal["state", "audit"], ...] = ("state", "audit")
    for url, kind in zip(urls, kinds, strict=True):
        user = sa.make_url(url).username or ""
        grant(as_role(url, Role.SETUP), kind, partial(as_role, user))


def _programs() -> Path:
    """Return the folder of initdb and postgres.

    Raises:
        RuntimeError: PostgreSQL is not installed.
    """
    for folder in sorted(_DEBIAN.glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    if found is None:
        raise RuntimeError("no PostgreSQL: install the package postgresql")
    return Path(found).parent


def _unprivileged(argv: Sequence[str]) -> list[str]:
    if os.geteuid() != 0:
        return list(argv)
    user = f"--reuid={_UNPRIVILEGED}", f"--regid={_UNPRIVILEGED}"
    return ["/usr/bin/setpriv", *user, "--clear-groups", *argv]
