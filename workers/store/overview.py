"""Reads the state of the whole installation from the state store."""

from dataclasses import dataclass

import sqlalchemy as sa

from workers.store.power_state import PowerState, power_state
from workers.store.requests import Round
from workers.store.tables import drifts, nodes, refresh_tokens, requests


@dataclass(frozen=True, slots=True)
class NodePower:
    """A node's power state; `since` is the time of its last request, ns since the epoch, or None."""

    node: str
    power: PowerState
    desired: str | None
    observed: str | None
    since: int | None


def open_requests(connection: sa.Connection, cluster: str) -> list[Round]:
    """The requests in progress, oldest first."""
    query = (
        sa.select(*(requests.c[name] for name in Round.__dataclass_fields__))
        # decided_at has an index, outcome has none
        .where(requests.c.cluster == cluster, requests.c.decided_at.is_(None))
        .order_by(requests.c.generation, requests.c.node, requests.c.round)
    )
    return [Round(*row) for row in connection.execute(query)]


def node_powers(connection: sa.Connection, cluster: str) -> dict[str, NodePower]:
    """The power states of all nodes that ever had a request, by node."""
    busy = {request.node for request in open_requests(connection, cluster)}
    columns = nodes.c.node, nodes.c.desired, nodes.c.observed, nodes.c.generation
    found: dict[str, NodePower] = {}
    asked = nodes.c.cluster == cluster, nodes.c.generation > 0
    for row in connection.execute(sa.select(*columns).where(*asked)):
        state = power_state(row.desired, row.observed, busy=row.node in busy)
        found[row.node] = NodePower(row.node, state, *row[1:])
    return found


def refresh_token_expiries(connection: sa.Connection) -> dict[str, int]:
    """When each cloud's refresh token expires unless it is used, where known; ns since the epoch."""
    query = sa.select(refresh_tokens.c.cloud, refresh_tokens.c.expires_at)
    return {cloud: end for cloud, end in connection.execute(query) if end is not None}


def drift_counts(connection: sa.Connection, cluster: str) -> dict[str, int]:
    """The number of drifts of each kind (workers/resync/drift.py)."""
    query = sa.select(drifts.c.kind, sa.func.count()).where(drifts.c.cluster == cluster)
    rows = connection.execute(query.group_by(drifts.c.kind).order_by(drifts.c.kind))
    return {row[0]: row[1] for row in rows}
