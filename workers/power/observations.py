"""What the engine notes in nodes' rows: generations reached and booted, and observed servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from workers.store.tables import nodes


def mark_booted(connection: sa.Connection, cluster: str, booted: Mapping[str, int]) -> None:
    """Note the generation under which a call has booted each of these nodes."""
    _set_each(connection, cluster, "booted", booted)


def mark_reached(connection: sa.Connection, cluster: str, reached: Mapping[str, int]) -> None:
    """Note the generation that each of these nodes has reached."""
    _set_each(connection, cluster, "reached", reached)


def _set_each(
    connection: sa.Connection, cluster: str, column: str, values: Mapping[str, int]
) -> None:
    if values:
        higher = nodes.c[column] < sa.bindparam("value")
        connection.execute(
            sa.update(nodes)
            .where(nodes.c.cluster == cluster, nodes.c.node == sa.bindparam("which"), higher)
            .values({column: sa.bindparam("value")}),
            [{"which": name, "value": values[name]} for name in sorted(values)],
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """What a node was observed to be; `at` in ns since the epoch."""

    node: str
    server_id: str | None
    status: str
    at: int


def observe(connection: sa.Connection, cluster: str, seen: Sequence[Observation]) -> None:
    """Keep observations, for operators and for the next action."""
    if not seen:
        return
    statement = (
        sa.update(nodes)
        .where(nodes.c.cluster == cluster, nodes.c.node == sa.bindparam("which"))
        .values(
            server_id=sa.func.coalesce(sa.bindparam("server"), nodes.c.server_id),
            observed=sa.bindparam("status"),
            observed_at=sa.bindparam("at"),
        )
    )
    connection.execute(
        statement,
        [
            {"which": o.node, "server": o.server_id, "status": o.status, "at": o.at}
            for o in sorted(seen, key=lambda o: o.node)
        ],
    )
