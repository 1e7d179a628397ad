"""A private PostgreSQL of the system's package: loopback, a port and a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg.sql import SQL, Identifier

from tests.testbed.ports import Ports
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

# Debian's place for the server's own programs; they are not on the PATH there.
_DEBIAN = Path("/usr/lib/postgresql")
_UNPRIVILEGED = "postgres"
_SUPERUSER = "lamplighter"


class PostgreSQL:
    """A server that belongs to its owner alone; use as a context manager.

    It refuses to run as root, so a root owner lends it the package's user.

    Args:
        folder: will hold all it writes; that user must reach it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = _programs()
        self._ports = Ports()
        self._port = self._ports.take()
        self._password = secrets.token_urlsafe(18)
        self._server: Child | None = None

    def create_database(self) -> str:
        """Make an empty database; return its SQLAlchemy URL."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self._address(name).replace("postgresql://", "postgresql+psycopg://")

    def start(self) -> None:
        """Start it and wait until it takes logins.

        Raises:
            RuntimeError: it ended; the message holds the end of its log.
        """
        argv = [
            str(self._programs / "postgres"),
            *("-D", str(self.folder / "data"), "-p", str(self._port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
        ]
        self._server = Child(_unprivileged(argv), log=self.folder / "postgres.log")
        until(self._answers, 30.0, "the private PostgreSQL")

    def stop(self) -> None:
        """End it, and with it all its connections."""
        if self._server is not None:
            # Its "fast shutdown"; a killed server leaves its shared memory to the machine.
            self._server.send(signal.SIGINT)
            self._server.stop()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        password = self.folder / "password"
        password.write_text(self._password)
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, _UNPRIVILEGED)
        subprocess.run(
            _unprivileged(
                [
                    str(self._programs / "initdb"),
                    *("-D", str(self.folder / "data"), "-U", _SUPERUSER, "--auth=scram-sha-256"),
                    *("--pwfile", str(password), "--no-sync", "--encoding=UTF8", "--locale=C"),
                ]
            ),
            check=True,
            capture_output=True,
            env=dict(MINIMAL_ENVIRONMENT),
            cwd=self.folder,
        )
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
        return f"postgresql://{_SUPERUSER}:{self._password}@127.0.0.1:{self._port}/{database}"


def _programs() -> Path:
    """The folder with initdb and postgres.

    Raises:
        RuntimeError: there is none.
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
