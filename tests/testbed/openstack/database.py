"""The cloud's MariaDB server."""

from __future__ import annotations

import getpass
import subprocess
from typing import TYPE_CHECKING

from tests.testbed.openstack.layout import DATABASE_PASSWORD
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from tests.testbed.openstack.layout import Layout

DATABASES = ("keystone", "placement", "glance", "nova_api", "nova", "nova_cell0")


class Database:
    """A running server; after `stop`, its folder can be copied."""

    def __init__(self, layout: Layout) -> None:
        """Start it and wait until it answers; create empty databases if there is no state yet.

        Raises:
            RuntimeError: It has ended; the message holds the end of its log.
            TimeoutError: It does not answer.
        """
        new = not (layout.state / "mysql").exists()
        if new:
            _lay_out(layout)
        self._socket = layout.run / "mysql.sock"
        self._child = Child(
            ["/usr/sbin/mariadbd", f"--defaults-file={layout.etc / 'mariadb.cnf'}"],
            log=layout.log / "mariadb.log",
        )
        try:
            until(self._answers, 30.0, "MariaDB")
            if new:
                self._create_databases()
        except BaseException:
            self.stop()
            raise

    def execute(self, *statements: str) -> None:
        """Run statements as the server's administrator.

        Raises:
            RuntimeError: The server refused one; the message holds its error.
        """
        done = self._client(";\n".join(statements))
        if done.returncode != 0:
            raise RuntimeError(f"MariaDB: {done.stderr}")

    def stop(self) -> None:
        """Shut it down cleanly."""
        self._child.stop(30.0)

    def _create_databases(self) -> None:
        account = "'openstack'@'127.0.0.1'"
        statements = [f"CREATE USER {account} IDENTIFIED BY '{DATABASE_PASSWORD}'"]
        for name in DATABASES:
            statements += [f"CREATE DATABASE {name}", f"GRANT ALL ON {name}.* TO {account}"]
        self.execute(*statements)

    def _answers(self) -> bool:
        self._child.require_running()
        return self._client("SELECT 1").returncode == 0

    def _client(self, statements: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "/usr/bin/mariadb",
                "--no-defaults",
                f"--user={getpass.getuser()}",
                f"--socket={self._socket}",
            ],
            input=statements,
            env=MINIMAL_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )


def _lay_out(layout: Layout) -> None:
    command = ["/usr/bin/mariadb-install-db", f"--defaults-file={layout.etc / 'mariadb.cnf'}"]
    command += ["--auth-root-authentication-method=socket", "--skip-test-db"]
    command += [f"--auth-root-socket-user={getpass.getuser()}"]
    done = subprocess.run(
        command, env=MINIMAL_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
