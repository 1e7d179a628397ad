"""Builds INSERT ... ON CONFLICT, for which SQLAlchemy has one class for each dialect."""

from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

Upsert: TypeAlias = postgresql.Insert | sqlite.Insert


def insert(connection: sa.Connection, table: sa.Table) -> Upsert:
    """An INSERT into `table` with the `on_conflict_...` methods of the connection's dialect."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
