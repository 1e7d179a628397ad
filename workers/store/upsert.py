"""Builds INSERT ... ON CONFLICT, for which SQLAlchemy has one class for each dialect."""

from collections.abc import Callable
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

Upsert: TypeAlias = postgresql.Insert | sqlite.Insert


def insert(connection: sa.Connection, table: sa.Table) -> Upsert:
    """An INSERT into `table` with the `on_conflict_...` methods of the connection's dialect."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    *names: str,
    where: Callable[[Any], sa.ColumnElement[bool]] | None = None,
) -> Upsert:
    """An INSERT that replaces columns (by default all) of a row that has the same primary key.

    `where` makes the condition of the replacement from the new row's columns.
    """
    statement = insert(connection, table)
    new = statement.excluded
    replaced = names or [column.name for column in table.c if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: new[name] for name in replaced},
        where=None if where is None else where(new),
    )
