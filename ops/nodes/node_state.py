"""Node states and node requests, from the configuration and the state store. Read-only."""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schemas.commands import Desired
from schemas.envelope import parse
from schemas.events import event_from
from schemas.snapshot import Power, SlurmNode
from workers.config.settings import Settings
from workers.store import snapshots
from workers.store.holds import all_holds
from workers.store.overview import open_requests
from workers.store.tables import nodes, requests


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node; times in ns since the epoch; None for what is unknown.

    Attributes:
        group, cloud, strategy: from the configuration; None if the node is not in it.
        desired, generation, request_id: of the latest request; the generation is its time.
        observed, observed_at: the server's status at the end of the latest request.
        held: the reason of the hold, if the node is on hold.
    """

    node: str
    group: str | None
    cloud: str | None
    strategy: str | None
    desired: str | None = None
    observed: str | None = None
    server_id: str | None = None
    generation: int | None = None
    observed_at: int | None = None
    request_id: str | None = None
    lease_owner: str | None = None
    held: str | None = None


# The fields that the state store has.
_STORED = [name for name in NodeStatus.__dataclass_fields__ if name in nodes.c and name != "node"]


def node_statuses(connection: sa.Connection, settings: Settings) -> list[NodeStatus]:
    """All nodes: those of the configuration in its order, then those that only the store has."""
    query = sa.select(nodes.c.node, *(nodes.c[name] for name in _STORED)).where(
        nodes.c.cluster == settings.cluster, nodes.c.generation > 0
    )
    stored = {row[0]: dict(zip(_STORED, row[1:], strict=True)) for row in connection.execute(query)}
    for node, hold in all_holds(connection, settings.cluster).items():
        stored.setdefault(node, {})["held"] = hold.reason
    unconfigured = sorted(set(stored) - set(settings.nodes))
    return [_status(settings, n, stored.get(n, {})) for n in (*settings.nodes, *unconfigured)]


def _status(settings: Settings, node: str, stored: dict[str, Any]) -> NodeStatus:
    name = settings.nodes.get(node)
    if name is None:
        return NodeStatus(node, None, None, None, **stored)
    group = settings.groups[name]
    return NodeStatus(node, name, group.cloud, group.strategy, **stored)


def nodes_powered_on(connection: sa.Connection, cluster: str) -> set[str]:
    """The nodes whose desired state is up: jobs may run on them."""
    query = sa.select(nodes.c.node).where(nodes.c.cluster == cluster, nodes.c.desired == Desired.UP)
    return set(connection.scalars(query))


def nodes_in_service(connection: sa.Connection, cluster: str) -> set[str]:
    """The nodes that have jobs in Slurm's newest snapshot, or may get one at any moment."""
    return {node.node for node in _in_slurm(connection, cluster) if _in_service(node)}


def nodes_down(connection: sa.Connection, cluster: str) -> set[str]:
    """The nodes that are down in Slurm's newest snapshot, and not drained.

    They return to service once their server boots: slurm.conf(5), ReturnToService.
    """
    return {
        node.node
        for node in _in_slurm(connection, cluster)
        if "DOWN" in node.states and "DRAIN" not in node.states
    }


def _in_slurm(connection: sa.Connection, cluster: str) -> tuple[SlurmNode, ...]:
    snapshot = snapshots.newest(connection, cluster)
    return snapshot.nodes if snapshot else ()


def _in_service(node: SlurmNode) -> bool:
    if node.jobs:
        return True
    usable = node.power in {Power.ON, Power.POWERING_UP, Power.CHANGING}
    return usable and not {"DOWN", "DRAIN"} & set(node.states)


def nodes_with_open_requests(connection: sa.Connection, cluster: str) -> set[str]:
    """The nodes that have a request in progress."""
    return {request.node for request in open_requests(connection, cluster)}


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """One round of a request for a node; kind, outcome and cause are None while it is in progress."""

    request_id: str
    round: int
    generation: int
    kind: str | None
    outcome: str | None
    decided_at: int | None
    cause: str | None
    actions: tuple[str, ...]


def recent_requests(
    connection: sa.Connection, cluster: str, node: str, limit: int
) -> list[NodeRequest]:
    """The latest requests for a node, newest first."""
    query = (
        sa.select(requests)
        .where(requests.c.cluster == cluster, requests.c.node == node)
        .order_by(requests.c.generation.desc(), requests.c.round.desc())
        .limit(limit)
    )
    return [_node_request(row) for row in connection.execute(query)]


def _node_request(row: Any) -> NodeRequest:  # noqa: ANN401 - a row
    kind = outcome = cause = decided_at = None
    if row.event is not None:
        event = event_from(parse(row.event))
        kind, outcome, decided_at = str(event.kind), str(event.transition), row.decided_at
        cause = str(event.cause) if event.cause else None
    actions = tuple(f"{made['action']}: {made['result']}" for made in json.loads(row.actions))
    return NodeRequest(
        row.request_id, row.round, row.generation, kind, outcome, decided_at, cause, actions
    )
