"""A password for PostgreSQL that systemd passes to a service, with the mode that systemd gives it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from ops.cli.session import _reader
from producers.settings import ConfigError
from tests.testbed.postgresql import PostgreSQL
from workers.store.database import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def server(session_dir: Path) -> Iterator[PostgreSQL]:
    with PostgreSQL(session_dir / "credential-postgresql") as running:
        yield running


@pytest.fixture
def passed(server: PostgreSQL, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The password file as a credential; libpq would ignore it, because its group can read it."""
    own = sa.make_url(server.create_database()).query["passfile"]
    folder = run_dir / "credentials"
    folder.mkdir()
    file = folder / "power.pgpass"
    file.touch(mode=0o600)
    file.write_text(Path(str(own)).read_text(encoding="utf-8"))
    file.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return file


@pytest.mark.parametrize("opened", [connect, lambda url: _reader(url, "store.url")])
def test_workers_and_commands_log_in_with_a_credential(
    server: PostgreSQL, passed: Path, opened: Callable[[str], sa.Engine]
) -> None:
    engine = opened(address(server, f"$CREDENTIALS_DIRECTORY/{passed.name}"))
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    secret = passed.read_text().strip().rpartition(":")[2]
    assert secret not in engine.url.render_as_string(hide_password=False)
    engine.dispose()


def address(server: PostgreSQL, passfile: str) -> str:
    """The URL of a new database, with this password file."""
    url = sa.make_url(server.create_database()).update_query_dict({"passfile": passfile})
    return url.render_as_string()


@pytest.mark.parametrize(
    ("mode", "text", "problem"),
    [
        (0o444, None, "open to other users"),
        (0o440, "no line", r"write a line \*"),
        (0o440, "", r"write a line \*"),
        (0, None, "No such file"),
    ],
)
def test_an_unusable_credential_is_refused_by_name(
    server: PostgreSQL, passed: Path, mode: int, text: str | None, problem: str
) -> None:
    if text is not None:
        passed.write_text(text)
    if mode:
        passed.chmod(mode)
    else:
        passed.unlink()
    with pytest.raises(ConfigError, match=problem):
        connect(address(server, f"$CREDENTIALS_DIRECTORY/{passed.name}"))
