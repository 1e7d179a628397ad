"""Files that released versions have written; see README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if path.name[0].isdigit())
Rows = dict[str, list[dict[str, object]]]


def rows_of(version: str, kind: str) -> Rows:
    """The rows of a store, by table."""
    found: Rows = json.loads((FOLDER / version / f"{kind}.json").read_text(), object_hook=_bytes)
    return found


def _bytes(value: dict[str, object]) -> object:
    return bytes.fromhex(str(value["hex"])) if value.keys() == {"hex"} else value


def fill(connection: sa.Connection, rows: Rows) -> None:
    """Insert the rows into the tables that are there; the tables of the version stay as they are."""
    tables = reflected(connection)
    for name, content in rows.items():
        if content and not name.endswith("_version"):
            connection.execute(tables[name].insert(), content)


def read(connection: sa.Connection, rows: Rows) -> Rows:
    """The present rows of the same tables and columns, in the same order."""
    tables, found = reflected(connection), Rows()
    for name, content in rows.items():
        columns = [tables[name].c[column] for column in content[0]] if content else [sa.literal(1)]
        query = sa.select(*columns).select_from(tables[name])
        present = [_plain(dict(row._mapping)) for row in connection.execute(query)]
        found[name] = sorted(present, key=content.index) if content else present
    return found


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    return {
        key: bytes(value) if isinstance(value, memoryview) else value for key, value in row.items()
    }


def reflected(connection: sa.Connection) -> Mapping[str, sa.Table]:
    """The tables as they are in the database."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return metadata.tables
