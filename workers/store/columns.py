"""Defines the columns of tables by type; required unless `null`. For tables and migrations."""

from functools import partial
from typing import Any

import sqlalchemy as sa


def _columns(
    kind: type[sa.types.TypeEngine[Any]],
    *names: str,
    key: bool = False,
    null: bool = False,
    default: str | None = None,
) -> list[sa.Column[Any]]:
    """Columns of one type; `key`: of the primary key, `default`: filled in by the database."""
    return [
        sa.Column(name, kind, primary_key=key, nullable=null, server_default=default)
        for name in names
    ]


text = partial(_columns, sa.Text)
integer = partial(_columns, sa.Integer)
bigint = partial(_columns, sa.BigInteger)
binary = partial(_columns, sa.LargeBinary)
# SQLite generates values only for an INTEGER primary key, not for a BIGINT one.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
