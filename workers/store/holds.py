"""Stores holds: nodes under maintenance, which no worker touches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from workers.store.chunks import chunks
from workers.store.tables import holds
from workers.store.upsert import insert


@dataclass(frozen=True, slots=True)
class Hold:
    """The hold of one node; `since` in ns since the epoch."""

    node: str
    reason: str
    by: str
    since: int


def place(connection: sa.Connection, cluster: str, wanted: Sequence[Hold]) -> None:
    """Place these holds; if a node is on hold already, its reason is replaced."""
    if not wanted:
        return
    statement = insert(connection, holds)
    statement = statement.on_conflict_do_update(
        index_elements=[holds.c.cluster, holds.c.node],
        set_={name: statement.excluded[name] for name in ("reason", "placed_by")},
    )
    rows = [
        {
            "cluster": cluster,
            "node": h.node,
            "reason": h.reason,
            "placed_by": h.by,
            "since": h.since,
        }
        for h in sorted(wanted, key=lambda hold: hold.node)
    ]
    connection.execute(statement, rows)


def lift(connection: sa.Connection, cluster: str, names: Sequence[str]) -> list[str]:
    """Release nodes; returns those that were on hold."""
    wanted = set(names)
    held = [node for node in all_holds(connection, cluster) if node in wanted]
    for chunk in chunks(held):
        connection.execute(
            sa.delete(holds).where(holds.c.cluster == cluster, holds.c.node.in_(chunk))
        )
    return held


def all_holds(connection: sa.Connection, cluster: str) -> Mapping[str, Hold]:
    """All holds, by node."""
    query = sa.select(holds.c.node, holds.c.reason, holds.c.placed_by, holds.c.since)
    rows = connection.execute(query.where(holds.c.cluster == cluster).order_by(holds.c.node))
    return {row.node: Hold(*row) for row in rows}
