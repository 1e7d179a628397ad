"""Each role has a PostgreSQL user that may use the tables of its part, and nothing else."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from producers.settings import ConfigError
from schemas.roles import Role
from tests.testbed.postgresql import PostgreSQL, as_role, grant_roles
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem
from workers.store.access import ACCESS, ALL, HIDDEN, READ
from workers.store.database import migrate, open_store
from workers.store.tables import AUDIT, STATE, audit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# What `lamplighter doctor` says where one user serves all.
NOTE = "may delete audit records"


@pytest.fixture(scope="module")
def server(session_dir: Path) -> Iterator[PostgreSQL]:
    with PostgreSQL(session_dir / "roles-postgresql") as running:
        yield running


def is_refused(connection: sa.Connection, statement: sa.Executable) -> bool:
    """Whether PostgreSQL refuses a statement because of who asks."""
    attempt = connection.begin()
    try:
        connection.execute(statement)
    except SQLAlchemyError as error:
        return isinstance(getattr(error, "orig", None), psycopg.errors.InsufficientPrivilege)
    finally:
        attempt.rollback()
    return False


def statements(table: sa.Table) -> dict[str, sa.Executable]:
    """A statement that needs one privilege alone, by privilege."""
    shown = [column for column in table.c if column not in HIDDEN]
    name, column = table.name, next(iter(table.c)).name
    return {
        "SELECT": sa.select(*shown),
        "INSERT": sa.text(f"INSERT INTO {name} DEFAULT VALUES"),
        "UPDATE": sa.update(table).values({column: sa.text("DEFAULT")}),
        "DELETE": sa.delete(table),
    }


def test_each_role_may_do_what_the_table_says_and_nothing_else(server: PostgreSQL) -> None:
    """Role by table by statement; nobody but the owner changes or deletes records of the audit log."""
    urls = server.create_role_databases()
    grant_roles(urls)
    grant_roles(urls)  # a second time changes nothing
    found: dict[tuple[Role, str], tuple[str, ...]] = {}
    for (role, access), (url, data) in product(
        ACCESS.items(), zip(urls, (STATE, AUDIT), strict=True)
    ):
        if not any(table.metadata is data for table in access):
            with pytest.raises(OperationalError, match="permission denied for database"):
                sa.create_engine(as_role(url, role)).connect()
            continue
        engine = sa.create_engine(as_role(url, role))
        with engine.connect() as connection:
            for table in data.tables.values():
                found[role, table.name] = tuple(
                    privilege
                    for privilege, statement in statements(table).items()
                    if not is_refused(connection, statement)
                )
            if data is STATE:
                for column in HIDDEN:
                    hidden = is_refused(connection, sa.select(column))
                    assert hidden is (role is not Role.TOKENS)
            for statement in ("CREATE TABLE mine (x int)", "CREATE TEMPORARY TABLE mine (x int)"):
                assert is_refused(connection, sa.text(statement)), (role, statement)
        engine.dispose()
    wanted = {
        (role, table.name): access.get(table, ())
        for role, access in ACCESS.items()
        for table in (*STATE.tables.values(), *AUDIT.tables.values())
    }
    assert {key: how for key, how in found.items() if how} == {
        key: tuple(one for one in ALL if one in how) for key, how in wanted.items() if how
    }
    assert {how for (_, name), how in found.items() if name == audit.name if how} == {
        READ,
        (*READ, "INSERT"),
    }


def test_a_worker_of_a_new_version_waits_for_its_tables_with_the_remedy(
    server: PostgreSQL,
) -> None:
    urls = server.create_role_databases()
    grant_roles(urls)
    owner = sa.create_engine(as_role(urls[1], Role.SETUP))
    with owner.begin() as connection:
        migrate(connection, "audit", "-1", back=True)
    owner.dispose()
    with pytest.raises(ConfigError, match="run lamplighter database roles --apply, before the"):
        open_store(as_role(urls[1], Role.AUDIT), "audit")
    grant_roles(urls)
    open_store(as_role(urls[1], Role.AUDIT), "audit").dispose()


def test_the_workers_and_commands_run_with_their_roles_alone(
    run_dir: Path, broker_url: str, server: PostgreSQL
) -> None:
    before = len(server.log)
    plan = SystemPlan(store=server.create_role_databases(), source="oidc_refresh_token")
    grant_roles(plan.store)
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=()) as system:
        printed = system.operator("database", "roles", "--create")
        assert printed.stdout.count("CREATE ROLE") == len(ACCESS) + 1, printed.stderr
        applied = system.operator("database", "roles", "--apply")
        assert applied.returncode == 0, applied.stderr
        for name in ("tokens", "audit", "power"):
            system.worker(name)
        system.ready()
        system.request("resume")
        system.settle()
        system.request("suspend", "node1")
        system.settle()
        for command in (
            ("audit", "list"),
            ("audit", "verify"),
            ("audit", "seal"),
            ("audit", "heads", "--sign"),
            ("audit", "prune", "--reason", "test", "--yes"),
            ("hold", "node2", "--reason", "test"),
            ("release", "node2"),
            ("nodes", "list"),
            ("tokens", "status"),
            ("report",),
        ):
            done = system.operator(*command)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert NOTE not in system.operator("doctor").stdout
        assert "workers not running: slurm" in system.operator("status").stdout.splitlines()[-1]
        assert system.outcomes() == {"completed": 4}
    assert "permission denied" not in server.log[before:]


def test_a_missing_right_is_said_with_its_role_and_remedy_and_costs_time_alone(
    run_dir: Path, broker_url: str, server: PostgreSQL
) -> None:
    plan = SystemPlan(store=server.create_role_databases())
    grant_roles(plan.store)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        user = sa.make_url(as_role(plan.store[0], Role.POWER)).username
        owner = sa.create_engine(as_role(plan.store[0], Role.SETUP))
        with owner.begin() as connection:
            connection.execute(sa.text(f'REVOKE INSERT, UPDATE ON nodes FROM "{user}"'))
        owner.dispose()
        system.request("resume")
        words = (
            f"the database role {user} lacks a right: permission denied for table nodes (INSERT)"
        )
        until(lambda: words in system.operator("status").stdout, 30, "the power worker's words")
        done = system.operator("status")
        assert (done.returncode, "lamplighter database roles --apply" in done.stdout) == (1, True)
        assert system.log("power").count("store_away") == 1
        grant_roles(plan.store)
        system.settle()
        system.check()


def test_one_user_for_all_is_refused_with_the_remedy(
    run_dir: Path, broker_url: str, server: PostgreSQL
) -> None:
    url = server.create_database()
    with WholeSystem(run_dir / "fleet", broker_url, SystemPlan(store=(url, url)), ()) as system:
        done = system.operator("database", "roles")
        assert done.returncode == 2
        assert "store.url: names no user for each role: write" in done.stderr
        assert NOTE in system.operator("doctor").stdout
