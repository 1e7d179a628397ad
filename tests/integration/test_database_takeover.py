"""docs/security.md's way from one database user to one for each role, with data."""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import sqlalchemy as sa

from schemas.roles import Role
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.stores import SQLITE_PAIR
from tests.testbed.whole_system import SystemPlan, WholeSystem
from tests.unit.test_doctor import GOOD_TOML
from workers.store.access import ACCESS, verifier
from workers.store.database import open_store
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterator

# On SQLite: the default, whose lines the tests replace.

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PROGRAMS = Path(sys.executable).parent
TEXT = {"client_encoding": "utf8"}


@pytest.fixture(scope="module")
def server(session_dir: Path) -> Iterator[PostgreSQL]:
    """A server as Debian's package makes it on a host without a locale."""
    with PostgreSQL(session_dir / "takeover-postgresql", encoding="SQL_ASCII") as running:
        yield running


def commands(program: str = "lamplighter|psql") -> list[str]:
    """Those of the page that begin so: for any host, or for compose."""
    section = PAGE.read_text().partition("\n## In the database")[2].partition("\n## ")[0]
    return re.findall(rf"^    ((?:{program}) .*)$", section, re.MULTILINE)


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
    engine = sa.create_engine(old.set(database=database), connect_args=TEXT)
    with engine.connect() as connection:
        found = {(kind, owner) for kind, owner in connection.execute(sa.text(query))}
    engine.dispose()
    return found


def encoding(old: sa.URL, database: str) -> str:
    """Of a database's text."""
    engine = sa.create_engine(old.set(database=database), connect_args=TEXT)
    with engine.connect() as connection:
        found = str(connection.scalar(sa.text("SHOW server_encoding")))
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
    with WholeSystem(
        run_dir / "site", broker_url, SystemPlan(nodes=1, store=SQLITE_PAIR), ()
    ) as system:
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
        assert encoding(old, f"st'ate x_{prefix}") == "UTF8"
        (system.folder / "power.pgpass").unlink()
        done = system.operator("database", "roles", "--create")
        assert f"no password is known here for {prefix}_power" in done.stdout
        assert "power.pgpass: No such file" in done.stderr


def test_the_users_of_another_cluster_keep_their_passwords(
    run_dir: Path, broker_url: str, server: PostgreSQL
) -> None:
    """Of two clusters with the same users on one server, the second one's SQL stops before it changes any."""
    old = sa.make_url(server.create_database())
    prefix = f"same_{secrets.token_hex(3)}"
    for cluster in ("first", "second"):
        folder = run_dir / cluster
        with WholeSystem(folder, broker_url, SystemPlan(nodes=1, store=SQLITE_PAIR), ()) as system:
            place = (
                f"postgresql+psycopg://{prefix}_{{role}}@{old.host}:{old.port}/{prefix}_{cluster}"
            )
            toml = system.settings.path.read_text()
            for file in ("state", "audit"):
                new = f"{place}?passfile={folder}/{{role}}.pgpass"
                toml = toml.replace(f"sqlite:///{file}.db", new)
            system.settings.path.write_text(toml)
            for role in (Role.SETUP, *ACCESS):
                (folder / f"{role}.pgpass").touch(mode=0o600)
                (folder / f"{role}.pgpass").write_text(f"*:*:*:*:{cluster}\n")
            if cluster == "first":
                run_page(system, old)
                run_page(system, old)
                continue
            with pytest.raises(AssertionError, match=f"the role {prefix}_setup owns "):
                run_page(system, old)
            assert f"{prefix}_setup owns another database: {prefix}_first" in server.log
            assert "write other users into store.url" in server.log
    first = {"passfile": f"{run_dir}/first/setup.pgpass"}
    assert owners(old.set(username=f"{prefix}_setup", query=first), f"{prefix}_first") == {
        ("database", f"{prefix}_setup"),
        ("table", f"{prefix}_setup"),
    }


def test_compose_with_data_gets_its_roles_by_its_own_commands(
    run_dir: Path, server: PostgreSQL
) -> None:
    """The page's commands, as the containers run them: the setup container has its own password only."""
    old = sa.make_url(server.create_database())
    admin = sa.create_engine(old, isolation_level="AUTOCOMMIT", connect_args=TEXT)
    with admin.connect() as connection:
        for name in ("lamplighter", "audit"):
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    kinds: dict[Literal["state", "audit"], str] = {"state": "lamplighter", "audit": "audit"}
    for kind, name in kinds.items():
        open_store(old.set(database=name).render_as_string(hide_password=False), kind).dispose()

    (run_dir / "docker").write_text("#!/bin/sh\n")  # it would change owners
    (run_dir / "docker").chmod(0o755)
    folder = run_dir / "secrets"
    search = f"{run_dir}:{PROGRAMS}:{os.environ['PATH']}"
    script = PAGE.parents[1] / "deploy/compose/secrets.sh"
    subprocess.run([script, folder], env={"PATH": search}, check=True)
    (run_dir / "setup").mkdir()
    shutil.copy(folder / "setup.pgpass", run_dir / "setup")
    compose = (script.parent / "lamplighter.toml").read_text()
    urls = re.findall(r'^(?:audit_)?url = "(postgresql.*)"$', compose, re.MULTILINE)
    toml = GOOD_TOML
    for sqlite, url in zip(("state", "audit"), urls, strict=True):
        place = url.replace("@postgres/", f"@{old.host}:{old.port}/")
        toml = toml.replace(
            f"sqlite:///{sqlite}.db", place.replace("/run/secrets", f"{run_dir}/setup")
        )
    config = run_dir / "lamplighter.toml"
    config.write_text(toml)
    config.chmod(0o600)
    environment = {
        "PATH": search,
        "LAMPLIGHTER_CONFIG": str(config),
        "PGHOST": str(old.host),
        "PGPORT": str(old.port),
        "PGPASSFILE": str(old.query["passfile"]),
        "PGDATABASE": "lamplighter",  # that of the user
    }
    for one in commands("docker compose"):
        command = one.replace("docker compose exec -T postgres ", "").replace(
            "SECRETS", str(folder)
        )
        command = command.replace("--username=lamplighter", f"--username={old.username}")
        command = command.replace("docker compose run --rm --no-deps -T setup ", "")
        subprocess.run(
            ["/bin/bash", "-c", command],
            env=environment,
            cwd=run_dir,
            check=True,
            capture_output=True,
        )
    # what the setup container does at each start
    applied = ["lamplighter", "database", "roles", "--apply"]
    subprocess.run(applied, env=environment, check=True, capture_output=True)
    for name in kinds.values():
        assert {owner for _, owner in owners(old, name)} == {"lamplighter_setup"}
    url = old.set(username="lamplighter_audit", database="audit")
    url = url.update_query_dict({"passfile": str(folder / "audit.pgpass")})
    engine = sa.create_engine(url, connect_args=TEXT)
    with engine.connect() as connection:
        connection.execute(sa.select(audit))
    engine.dispose()


def test_a_verifier_is_what_postgresql_itself_makes(server: PostgreSQL) -> None:
    url = sa.make_url(server.create_database())
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", connect_args=TEXT)
    name = f"scram_{secrets.token_hex(3)}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'pencil'")
        query = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'"  # noqa: S608 - ours
        theirs = connection.exec_driver_sql(query).scalar_one()
    engine.dispose()
    salt = base64.b64decode(theirs.split("$")[1].partition(":")[2])
    assert verifier("pencil", salt) == theirs
