"""Tells whether a power worker holds the lease of a node now."""

import sqlalchemy as sa

from workers.store.database import store_clock
from workers.store.tables import nodes


def is_leased(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """A condition for queries of the table `nodes`, evaluated by the store's clock."""
    now = store_clock(connection.dialect.name)
    return sa.and_(nodes.c.lease_owner.is_not(None), nodes.c.lease_until > now)
