"""Whether a power worker is at a node now."""

import sqlalchemy as sa

from workers.store.database import store_clock
from workers.store.tables import nodes


def is_leased(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """By the store's own clock; for a query of the table `nodes`."""
    now = store_clock(connection.dialect.name)
    return sa.and_(nodes.c.lease_owner.is_not(None), nodes.c.lease_until > now)
