"""Stores holds: nodes under maintenance, which no worker touches."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import sqlalchemy as sa

from workers.store.database import among, upsert
from workers.store.tables import holds


@dataclass(frozen=True, slots=True)
class Hold:
    """The hold of one node, in the order of the columns; `since` in ns since the epoch."""

    node: str
    reason: str
    by: str
    since: int


def place(connection: sa.Connection, cluster: str, wanted: Sequence[Hold]) -> None:
    """Place these holds; if a node is on hold already, its reason is replaced."""
    if not wanted:
        return
    rows = [
        dict(zip(holds.c.keys(), (cluster, *astuple(hold)), strict=True))
        for hold in sorted(wanted, key=lambda hold: hold.node)
    ]
    connection.execute(upsert(connection.dialect.name, holds, "reason", "placed_by"), rows)


def lift(connection: sa.Connection, cluster: str, names: Sequence[str]) -> list[str]:
    """Release nodes; returns those that were on hold."""
    wanted = set(names)
    held = [node for node in all_holds(connection, cluster) if node in wanted]
    these = among(connection.dialect.name, holds.c.node, held)
    connection.execute(sa.delete(holds).where(holds.c.cluster == cluster, these))
    return held


def all_holds(connection: sa.Connection, cluster: str) -> Mapping[str, Hold]:
    """All holds, by node."""
    query = sa.select(holds).where(holds.c.cluster == cluster).order_by(holds.c.node)
    return {row.node: Hold(*row[1:]) for row in connection.execute(query)}
