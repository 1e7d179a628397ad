"""How nodes stand, by configuration and store; read only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schemas.commands import Desired
from schemas.envelope import parse
from schemas.events import event_from
from workers.config.settings import Settings
from workers.store.holds import all_holds
from workers.store.tables import nodes, requests

_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node; times in ns since the epoch; what is not known is None.

    Attributes:
        group, cloud, strategy: by the configuration; None where it names the node no more.
        desired, generation, request_id: what was asked last; the generation is also when.
        observed, observed_at: the server's status when a request last ended.
        held: why somebody keeps everybody off it.
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

    @property
    def lit(self) -> bool:
        """Whether it is wanted up: jobs may run on it."""
        return self.desired == Desired.UP


_KEPT = (
    "desired",
    "observed",
    "server_id",
    "generation",
    "observed_at",
    "request_id",
    "lease_owner",
)


def node_statuses(connection: sa.Connection, settings: Settings) -> list[NodeStatus]:
    """All nodes: those of the configuration in its order, then those that only the store knows."""
    query = sa.select(nodes.c.node, *(nodes.c[name] for name in _KEPT)).where(
        nodes.c.cluster == settings.cluster
    )
    kept = {row[0]: dict(zip(_KEPT, row[1:], strict=True)) for row in connection.execute(query)}
    for node, hold in all_holds(connection, settings.cluster).items():
        kept.setdefault(node, {})["held"] = hold.reason
    forgotten = sorted(set(kept) - set(settings.nodes))
    return [_standing(settings, name, kept.get(name, {})) for name in (*settings.nodes, *forgotten)]


def _standing(settings: Settings, node: str, kept: dict[str, Any]) -> NodeStatus:
    name = settings.nodes.get(node)
    if name is None:
        return NodeStatus(node, None, None, None, **kept)
    group = settings.groups[name]
    return NodeStatus(node, name, group.cloud, group.strategy, **kept)


def busy(connection: sa.Connection, cluster: str, names: Sequence[str]) -> set[str]:
    """Those of these nodes for which a request is under way."""
    found: set[str] = set()
    for start in range(0, len(names), _PER_QUERY):
        query = sa.select(requests.c.node).where(
            requests.c.cluster == cluster,
            requests.c.node.in_(names[start : start + _PER_QUERY]),
            requests.c.outcome.is_(None),
        )
        found.update(connection.scalars(query))
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A round of a request of a node's; kind, outcome and cause are None while it is under way."""

    request_id: str
    round: int
    generation: int
    kind: str | None
    outcome: str | None
    decided_at: int | None
    cause: str | None
    actions: tuple[str, ...]


def last_asked(connection: sa.Connection, cluster: str, node: str, limit: int) -> list[Asked]:
    """A node's latest requests, the newest first."""
    query = (
        sa.select(
            requests.c.request_id,
            requests.c.round,
            requests.c.generation,
            requests.c.event,
            requests.c.decided_at,
            requests.c.actions,
        )
        .where(requests.c.cluster == cluster, requests.c.node == node)
        .order_by(requests.c.generation.desc(), requests.c.round.desc())
        .limit(limit)
    )
    return [_asked(*row) for row in connection.execute(query)]


def _asked(  # noqa: PLR0913, PLR0917 - the columns
    request_id: str,
    round_: int,
    generation: int,
    body: bytes | None,
    decided_at: int | None,
    actions: str,
) -> Asked:
    made = tuple(f"{action['action']}: {action['result']}" for action in json.loads(actions))
    if body is None:
        return Asked(request_id, round_, generation, None, None, None, None, made)
    event = event_from(parse(body))
    cause = f"{event.cause.error}: {event.cause.message}" if event.cause else None
    return Asked(
        request_id,
        round_,
        generation,
        str(event.kind),
        str(event.transition),
        decided_at,
        cause,
        made,
    )
