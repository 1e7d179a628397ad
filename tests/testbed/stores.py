"""Where the stores of a test are: in SQLite, or with STORE=postgresql in databases of this run's PostgreSQL.

Tests name files. On PostgreSQL each file stands for a database of its own: empty at first, and dropped
once the file's folder is gone. Tests whose subject is SQLite name sqlite:///FILE themselves, and say why.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.testbed.postgresql import PostgreSQL

SQLITE_PAIR = "sqlite:///state.db", "sqlite:///audit.db"
VARIABLE = "LAMPLIGHTER_TEST_STORE"
SQLITE, POSTGRESQL = KINDS = ("sqlite", "postgresql")


class Stores:
    """The databases of this process.

    Attributes:
        kind: that of the stores that `url` names.
    """

    def __init__(self) -> None:
        self.kind = SQLITE
        self._open: Callable[[], PostgreSQL] | None = None
        self._made: dict[Path, str] = {}

    @contextmanager
    def serving(
        self, kind: str, make: Callable[[], AbstractContextManager[PostgreSQL]]
    ) -> Iterator[None]:
        """Provide stores of this kind until the block ends.

        Args:
            kind: one of KINDS.
            make: makes the server; it starts at its first use.
        """
        with ExitStack() as running:
            started: list[PostgreSQL] = []

            def server() -> PostgreSQL:
                if not started:
                    started.append(running.enter_context(make()))
                return started[0]

            self.kind, self._open = kind, server
            running.callback(self._end)
            yield

    def _end(self) -> None:
        self.kind, self._open = SQLITE, None
        self._made.clear()

    @property
    def server(self) -> PostgreSQL:
        """This run's PostgreSQL, which serves the tests of any kind.

        Raises:
            RuntimeError: there is none outside of a test run.
        """
        if self._open is None:
            raise RuntimeError("there is no PostgreSQL outside of a test run")
        return self._open()

    def url(self, file: Path) -> str:
        """The URL of the store that this file stands for; the same for the same file."""
        if self.kind == SQLITE:
            return f"sqlite:///{file}"
        if file not in self._made:
            for old in [one for one in self._made if not one.parent.exists()]:
                self.server.drop_database(self._made.pop(old))
            self._made[file] = self.server.create_database()
        return self._made[file]

    def pair(
        self, folder: Path, state: str = "state.db", audit: str = "audit.db"
    ) -> tuple[str, str]:
        """The URLs of state store and audit log for the lamplighter.toml of a folder."""
        if self.kind == SQLITE:
            return f"sqlite:///{state}", f"sqlite:///{audit}"
        return self.url(folder / state), self.url(folder / audit)

    def lose(self, file: Path) -> None:
        """Let nobody reach a store any more."""
        if self.kind == SQLITE:
            file.rename(file.with_name(f"lost-{file.name}"))
        else:
            self.server.close_database(self._made[file])


STORES = Stores()
