"""Slurm's snapshots as a power worker uses them: what they confirm, and the listings they ask for."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from schemas.server import Server
from workers.power.suspend_guard import SlurmView
from workers.store import snapshots
from workers.store.database import reading
from workers.store.snapshots import StoredListing
from workers.store.tables import STRAY, drifts

_NS_PER_MS = 1_000_000


class SnapshotReader:
    """What the store holds of Slurm's own word.

    Args:
        store: with the state's tables.
        cluster: the cluster's name.
        enabled: whether snapshots count; None for as soon as there is one.

    Attributes:
        silent: whether Slurm has said nothing since this worker began to use the store: late
            suspends and new ones wait.
    """

    def __init__(self, store: sa.Engine, cluster: str, *, enabled: bool | None) -> None:
        self._store = store
        self._cluster = cluster
        self._enabled = enabled
        self._trusted_from: int | None = None
        self._view = SlurmView(0, {}, vouched=False)
        self.silent = False

    def doubt(self) -> None:
        """The store was away, and may have come back as it was long ago."""
        self._trusted_from = None

    def view(self) -> SlurmView | None:
        """What Slurm has said; None where snapshots do not count."""
        if self._enabled is False:
            return None
        with reading(self._store) as connection:
            trusted_from = self._trust(connection)
            newest = snapshots.snapshot_age(connection, self._cluster)
            if newest is None:
                return self._view if self._enabled else None
            if newest.generation != self._view.generation:
                self._read(connection)
        return replace(self._view, vouched=newest.generation > trusted_from)

    def wanted(self, clouds: Sequence[str]) -> tuple[int, list[str]]:
        """The newest snapshot's generation, and those of these clouds not yet listed for it."""
        if self._enabled is False:
            return 0, []
        with reading(self._store) as connection:
            trusted_from = self._trust(connection)
            newest = snapshots.snapshot_age(connection, self._cluster)
            self.silent = newest.generation <= trusted_from if newest else self._enabled is True
            if newest is None:
                return 0, []
            listed = snapshots.listed_generations(connection, self._cluster)
        late = [cloud for cloud in clouds if listed.get(cloud, 0) < newest.generation]
        return newest.generation, late

    def keep(self, cloud: str, generation: int, asked_at: int, servers: Sequence[Server]) -> None:
        """Keep what a cloud has shown for a snapshot; `asked_at` in ns since the epoch."""
        with self._store.begin() as connection:
            listing = StoredListing(cloud, generation, asked_at, tuple(servers))
            snapshots.keep_listing(connection, self._cluster, listing)

    def condemned(self) -> frozenset[str]:
        """The ids of servers with our tags that are no node's, and are to be deleted."""
        query = sa.select(drifts.c.subject).where(
            drifts.c.cluster == self._cluster, drifts.c.kind == STRAY, drifts.c.repairs > 0
        )
        with reading(self._store) as connection:
            return frozenset(connection.scalars(query))

    def _trust(self, connection: sa.Connection) -> int:
        """From when on (ns since the epoch) a snapshot has to be taken to vouch for the store."""
        if self._trusted_from is None:
            self._trusted_from = snapshots.store_now(connection) * _NS_PER_MS
        return self._trusted_from

    def _read(self, connection: sa.Connection) -> None:
        snapshot = snapshots.newest(connection, self._cluster)
        if snapshot is not None:
            power = {node.node: node.power for node in snapshot.nodes}
            self._view = SlurmView(snapshot.generation, power, vouched=False)
