"""The migrations create the tables that workers/store/tables.py defines, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from producers.settings import ConfigError
from workers.store import tables
from workers.store.database import connect, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# On SQLite: SQLite's own files may be damaged; all else runs on both.

METADATA: Mapping[Literal["state", "audit"], sa.MetaData] = {
    "state": tables.STATE,
    "audit": tables.AUDIT,
}


def differences(connection: sa.Connection, kind: Literal["state", "audit"]) -> list[object]:
    """What a further migration would have to change."""
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, type_, _parents: (
            type_ != "table" or name in METADATA[kind].tables
        ),
    }
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, METADATA[kind]))


@pytest.mark.parametrize("kind", ["state", "audit"])
def test_migrated_tables_equal_the_defined_tables(
    store_url: str, kind: Literal["state", "audit"]
) -> None:
    engine = open_store(store_url, kind)
    with engine.begin() as connection:
        assert differences(connection, kind) == []
        expected = {*METADATA[kind].tables, f"{kind}_version"}
        assert set(sa.inspect(connection).get_table_names()) == expected
    engine.dispose()


def test_a_changed_table_is_reported(store_url: str) -> None:
    """The comparison is not blind: it finds a missing index."""
    engine = open_store(store_url, "state")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX requests_decided")
        (missing,) = differences(connection, "state")
    assert isinstance(missing, tuple)
    assert missing[0] == "add_index"
    engine.dispose()


def test_state_and_audit_share_a_database(store_url: str) -> None:
    for _ in range(2):
        for kind in METADATA:
            open_store(store_url, kind).dispose()
    engine = open_store(store_url, "state")
    with engine.begin() as connection:
        for kind in METADATA:
            assert differences(connection, kind) == []
    engine.dispose()


def test_a_store_of_a_newer_version_is_refused_and_not_changed(store_url: str) -> None:
    engine = open_store(store_url, "state")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE state_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match=r"store\.url.*newer version.*9999.*restore a backup"):
        open_store(store_url, "state")
    with engine.begin() as connection:
        version = connection.exec_driver_sql("SELECT version_num FROM state_version").scalar()
    assert version == "9999"
    engine.dispose()


@pytest.mark.parametrize("kind", ["state", "audit"])
def test_tables_of_another_program_are_refused_and_stay(
    store_url: str, kind: Literal["state", "audit"]
) -> None:
    other = min(METADATA[kind].tables)
    engine = connect(store_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {other} (theirs INTEGER)")
    with pytest.raises(ConfigError, match=rf"another program \({other}\): name one of its own"):
        open_store(store_url, kind)
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == [other]
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("folder", "name a file in it"), ("text", "name another file"), ("half", "restore a backup")],
)
def test_what_is_no_sqlite_database_is_named_with_its_key(
    tmp_path: Path, name: str, remedy: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("a line of text\n" * 100)
    open_store(f"sqlite:///{tmp_path}/good", "audit").dispose()
    (tmp_path / "half").write_bytes((tmp_path / "good").read_bytes()[:5000])
    with pytest.raises(ConfigError) as error:
        open_store(f"sqlite:///{tmp_path}/{name}", "audit")
    assert f"{tmp_path}/{name}" in str(error.value)
    assert "store.audit_url: " in str(error.value)
    assert remedy in str(error.value)
