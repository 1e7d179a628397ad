"""docs/security.md's way from one database user to one for each role, with data."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.roles import Role
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.whole_system import SystemPlan, WholeSystem
from workers.store.access import ACCESS, verifier

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def server(session_dir: Path) -> Iterator[PostgreSQL]:
    with PostgreSQL(session_dir / "takeover-postgresql") as running:
        yield running


def commands() -> list[str]:
    """Those of the page, for any host."""
    section = PAGE.read_text().partition("\n## In the database")[2].partition("\n## ")[0]
    return re.findall(r"^    ((?:lamplighter|psql) .*)$", section, re.MULTILINE)


def run_page(system: WholeSystem, old: sa.URL) -> str:
    """Run the page's commands as an administrator; what they print."""
    environment = {
        **{name: os.environ[name] for name in ("PATH",)},
        "LAMPLIGHTER_CONFIG": str(system.settings.path),
        "PGHOST": str(old.host),
        "PGPORT": str(old.port),
        "PGUSER": str(old.username),
        "PGPASSFILE": str(old.query["passfile"]),
    }
    environment["PATH"] = f"{PROGRAMS}:{environment['PATH']}"
    said = ""
    for one in commands():
        done = subprocess.run(
            ["/bin/bash", "-c", one], env=environment, cwd=system.folder, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (one, done.stdout, done.stderr)
        said += done.stdout + done.stderr
    return said


def owners(old: sa.URL, database: str | None) -> set[tuple[str, str]]:
    """The owners of the database and of its tables."""
    query = (
        "SELECT 'database', pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        " UNION SELECT 'table', tableowner FROM pg_tables WHERE schemaname = 'public'"
    )
    engine = sa.create_engine(old.set(database=database))
    with engine.connect() as connection:
        found = {(kind, owner) for kind, owner in connection.execute(sa.text(query))}
    engine.dispose()
    return found


def test_an_installation_with_one_user_gets_its_roles_and_keeps_its_data(
    run_dir: Path, broker_url: str, server: PostgreSQL
) -> None:
    """The page's commands, literally, and a second time; on two databases, as with compose."""
    assert len(commands()) == 3
    url = server.create_database()
    old = sa.make_url(url)
    audit_url = server.create_database()
    audit_name = sa.make_url(audit_url).database
    plan = SystemPlan(store=(url, audit_url), nodes=2)
    with WholeSystem(run_dir / "site", broker_url, plan) as system:
        system.request("resume")
        system.settle()
        for worker in system.workers.values():
            worker.stop()
        before = len(system.records())

        prefix = f"old_{secrets.token_hex(3)}"
        passfile = f"{system.folder}/database/{{role}}.pgpass"
        place = f"postgresql+psycopg://{prefix}_{{role}}@{old.host}:{old.port}"
        toml = system.settings.path.read_text()
        for one in {url, audit_url}:
            new = f"{place}/{sa.make_url(one).database}?passfile={passfile}"
            assert one in toml
            toml = toml.replace(one, new)
        system.settings.path.write_text(toml)
        (system.folder / "database").mkdir()
        passwords = {role: secrets.token_urlsafe(16) + r"\:'$x" for role in (Role.SETUP, *ACCESS)}
        for role, password in passwords.items():
            file = system.folder / "database" / f"{role}.pgpass"
            file.touch(mode=0o600)
            escaped = password.replace("\\", r"\\").replace(":", r"\:")
            file.write_text(f"*:*:*:*:{escaped}\n")

        said = run_page(system, old)
        said += run_page(system, old)
        said += (system.folder / "database.sql").read_text()
        assert not [one for one in passwords.values() if one[:12] in said]
        for name in {old.database, audit_name}:
            assert {owner for _, owner in owners(old, name)} == {f"{prefix}_setup"}

        for name in ("tokens", "audit", "power"):
            system.worker(name)
        system.ready()
        system.request("suspend")
        system.settle()
        assert len(system.records()) > before
        assert system.outcomes() == {"completed": 4}
        for command in (("audit", "verify"), ("nodes", "list")):
            done = system.operator(*command)
            assert done.returncode == 0, done.stdout + done.stderr
        assert "may delete audit records" not in system.operator("doctor").stdout


def test_new_databases_are_created_by_the_same_commands(
    run_dir: Path, broker_url: str, server: PostgreSQL
) -> None:
    old = sa.make_url(server.create_database())
    with WholeSystem(run_dir / "site", broker_url, SystemPlan(nodes=1), ()) as system:
        prefix = f"new_{secrets.token_hex(3)}"
        store = f"postgresql+psycopg://{prefix}_{{role}}@{old.host}:{old.port}"
        toml = system.settings.path.read_text()
        passfile = f"{system.folder}/{{role}}.pgpass"
        for file in ("state", "audit"):  # one database for both, as init writes it
            new = f"{store}/st'ate x_{prefix}?passfile={passfile}"
            toml = toml.replace(f"sqlite:///{file}.db", new)
        system.settings.path.write_text(toml)
        for role in (Role.SETUP, *ACCESS):
            file_of_role = system.folder / f"{role}.pgpass"
            file_of_role.touch(mode=0o600)
            file_of_role.write_text(f"*:*:*:*:{secrets.token_urlsafe(16)}\n")
        run_page(system, old)
        assert owners(old, f"st'ate x_{prefix}") == {
            ("database", f"{prefix}_setup"),
            ("table", f"{prefix}_setup"),
        }
        (system.folder / "power.pgpass").unlink()
        done = system.operator("database", "roles", "--create")
        assert f"no password is known here for {prefix}_power" in done.stdout
        assert "power.pgpass: No such file" in done.stderr


def test_a_verifier_is_what_postgresql_itself_makes(server: PostgreSQL) -> None:
    url = sa.make_url(server.create_database())
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"scram_{secrets.token_hex(3)}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'pencil'")
        query = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'"  # noqa: S608 - ours
        theirs = connection.exec_driver_sql(query).scalar_one()
    engine.dispose()
    salt = base64.b64decode(theirs.split("$")[1].partition(":")[2])
    assert verifier("pencil", salt) == theirs
