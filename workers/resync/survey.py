"""Compares a snapshot with the listings, the requested states and the holds. Only reads."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from schemas.commands import Desired
from schemas.server import Server
from schemas.snapshot import Power, SlurmNode, Snapshot
from workers.clouds.actions import Strategy
from workers.clouds.servers import ServerView
from workers.clouds.strays import is_stray, is_surplus, may_have_job
from workers.config.settings import Settings
from workers.resync.drift import ComparedNode, ServerState, server_state
from workers.store import snapshots
from workers.store.holds import Hold, all_holds
from workers.store.leases import is_leased
from workers.store.slurm_view import has_lost_most
from workers.store.snapshots import StoredListing
from workers.store.tables import RETURN, feedback, nodes, requests

# An open request may never end: the broker's disk was lost, or the store was restored from a backup.
_LONGEST_REQUEST = 3600 * 10**9
# This many servers may disappear at once without doubt about the listing.
_FEW = 3


@dataclass(frozen=True, slots=True)
class SurveyedNode:
    """One node: what is known of it, and the sources.

    Attributes:
        slurm: the node in the snapshot, or None if Slurm does not know it.
        servers: those that can be its server; exactly one is the normal case.
        own_id: of the server that was acted on last for the node, if any was.
        hold: its hold, if there is one.
    """

    node: str
    known: ComparedNode
    slurm: SlurmNode | None
    servers: tuple[Server, ...]
    own_id: str | None
    hold: Hold | None

    @property
    def cloud_state(self) -> str:
        """The status of its server; several servers with their ids, and which of them is its own."""
        if len(self.servers) == 1:
            return self.servers[0].status
        if not self.servers or self.known.seen is not ServerState.SEVERAL:
            return str(self.known.seen)
        return ", ".join(
            f"{server.id} {server.status}{' (its own)' if server.id == self.own_id else ''}"
            for server in self.servers
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """The state of the whole installation.

    Attributes:
        snapshot: the state of Slurm.
        nodes: all nodes of the configuration.
        strays: servers with our tags that belong to no node, with their clouds.
        surplus: servers with a node's tags beside the node's own server, on which no job can run.
        unseen: clouds that were not listed since the snapshot.
        doubted: clouds whose listing has lost most of its nodes at once.
    """

    snapshot: Snapshot
    nodes: tuple[SurveyedNode, ...]
    strays: tuple[tuple[str, Server], ...]
    surplus: tuple[tuple[str, Server], ...]
    unseen: tuple[str, ...]
    doubted: tuple[str, ...]


def survey(connection: sa.Connection, settings: Settings, snapshot: Snapshot) -> Survey:
    """Compare a snapshot with the content of the store."""
    cluster = settings.cluster
    listings = {
        listing.cloud: listing
        for listing in snapshots.all_listings(connection, cluster)
        if listing.generation == snapshot.generation
    }
    views = {name: _view(cluster, listing) for name, listing in listings.items()}
    rows = _rows(connection, cluster)
    # what was noted later was noted before a worker's clock was set back: long ago, perhaps
    now = time.time_ns()
    ahead = int(settings.power.clock_ahead * 10**9)
    not_later = now + ahead
    busy = _busy(connection, cluster, now - _LONGEST_REQUEST, not_later)
    holds = all_holds(connection, cluster)
    # the slurm worker has the clock of the snapshots' host, which may be another time
    in_time = snapshot.time - int(settings.slurm.return_at_most * 10**9)
    returning = _returning(connection, cluster, in_time, max(now, snapshot.time) + ahead)
    slurm = {node.node: node for node in snapshot.nodes}
    # if Slurm has lost most of its nodes at once, its configuration may be a mistake
    absent = Power.UNKNOWN if has_lost_most(settings.nodes, slurm) else None
    strays = [
        (cloud, server)
        for cloud, view in views.items()
        for server in view.servers
        if is_stray(settings, cloud, server, views)
    ]
    elsewhere = {server.node for _, server in strays if may_have_job(server)}
    compared = []
    for name, group_name in settings.nodes.items():
        group, row = settings.groups[group_name], rows.get(name)
        listing, view = listings.get(group.cloud), views.get(group.cloud)
        servers = view.find(name, row.server_id if row else None) if view else ()
        strategy = Strategy(group.strategy)
        acted = listing is None or (
            row is not None and listing.requested_at <= row.observed_at <= not_later
        )
        answers = name in slurm and slurm[name].answers
        # the slurmd that answers may be on the server that its group has left behind on another cloud
        unclear = acted or (answers and name in elsewhere)
        known = ComparedNode(
            power=slurm[name].power if name in slurm else absent,
            desired=Desired(row.desired) if row else None,
            answers=answers,
            seen=ServerState.UNKNOWN if unclear else server_state(servers, strategy),
            newer=row is not None and row.generation > snapshot.generation,
            busy=name in busy or (row is not None and bool(row.leased)),
            held=name in holds,
            frees=strategy is Strategy.DELETE,
            # of these, the slurm worker returns those that failed lately
            left_down=name in slurm and slurm[name].failed_boot and name not in returning,
            stop_timeout=group.stop_timeout,
        )
        own_id = row.server_id if row else None
        hold = holds.get(name)
        compared.append(SurveyedNode(name, known, slurm.get(name), servers, own_id, hold))
    doubted = _doubted(settings, compared)
    return Survey(
        snapshot,
        tuple(_unless_doubted(settings, node, doubted) for node in compared),
        tuple(strays),
        tuple(_surplus(settings, compared)),
        tuple(sorted(set(settings.clouds) - set(listings))),
        doubted,
    )


def _surplus(settings: Settings, compared: Iterable[SurveyedNode]) -> Iterable[tuple[str, Server]]:
    for node in compared:
        known = node.known
        if known.seen is not ServerState.SEVERAL or known.newer or known.busy or known.held:
            continue
        own_runs = any(s.id == node.own_id and s.status == "ACTIVE" for s in node.servers)
        cloud = _cloud_of(settings, node.node)
        for server in node.servers:
            # a job can run on either of two servers that bear its node's name
            is_safe = known.power is Power.OFF or (own_runs and not may_have_job(server))
            if is_safe and is_surplus(settings, cloud, server, node.own_id, node.servers):
                yield cloud, server


def _view(cluster: str, listing: StoredListing) -> ServerView:
    view = ServerView(cluster)
    view.fold(listing.servers, 0.0, whole=True)
    return view


def _rows(connection: sa.Connection, cluster: str) -> Mapping[str, sa.Row[Any]]:
    """The stored requests, by node."""
    columns = (nodes.c.node, nodes.c.desired, nodes.c.generation, nodes.c.server_id)
    query = sa.select(
        *columns,
        sa.func.coalesce(nodes.c.observed_at, 0).label("observed_at"),
        is_leased(connection).label("leased"),
    )
    rows = connection.execute(query.where(nodes.c.cluster == cluster, nodes.c.generation > 0))
    return {row.node: row for row in rows}


def _returning(connection: sa.Connection, cluster: str, since: int, until: int) -> frozenset[str]:
    """The nodes that the slurm worker will return to service, and whose boots failed then (ns)."""
    query = sa.select(feedback.c.node).where(
        feedback.c.cluster == cluster,
        feedback.c.due == RETURN,
        feedback.c.failed_at.between(since, until),
    )
    return frozenset(connection.scalars(query))


def _busy(connection: sa.Connection, cluster: str, since: int, until: int) -> frozenset[str]:
    query = sa.select(requests.c.node).where(
        requests.c.cluster == cluster,
        # decided_at has an index, outcome has none
        requests.c.decided_at.is_(None),
        requests.c.accepted_at.between(since, until),
    )
    return frozenset(connection.scalars(query))


def _cloud_of(settings: Settings, node: str) -> str:
    return settings.groups[settings.nodes[node]].cloud


def _unless_doubted(
    settings: Settings, node: SurveyedNode, doubted: tuple[str, ...]
) -> SurveyedNode:
    if node.known.seen is ServerState.GONE and _cloud_of(settings, node.node) in doubted:
        return replace(node, known=replace(node.known, seen=ServerState.UNKNOWN))
    return node


def _doubted(settings: Settings, compared: Iterable[SurveyedNode]) -> tuple[str, ...]:
    """Clouds that list less than half of the nodes that should run there.

    Nova silently omits the servers of a cell that does not answer.
    """
    wanted: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for node in compared:
        if node.known.desired is Desired.UP:
            cloud = _cloud_of(settings, node.node)
            wanted[cloud] += 1
            gone[cloud] += node.known.seen is ServerState.GONE
    lost = (cloud for cloud in gone if gone[cloud] > _FEW and gone[cloud] * 2 > wanted[cloud])
    return tuple(sorted(lost))
