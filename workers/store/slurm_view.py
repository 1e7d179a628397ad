"""Slurm's snapshots in the store, as a power worker uses them, and the listings that they ask for."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from schemas.server import Server
from schemas.snapshot import Power
from workers.store import snapshots
from workers.store.database import reading
from workers.store.leases import is_leased
from workers.store.snapshots import StoredListing
from workers.store.tables import STRAY, SURPLUS, drifts, holds, nodes

_NS_PER_MS = 1_000_000
# What Slurm shows of a node that it wants up.
WANTED = frozenset({Power.ON, Power.POWERING_UP, Power.SET_DOWN})
# This many nodes may be missing at once without doubt about slurm.conf.
_FEW = 3
# Seconds; twice the first retry tier, in which requests rest until a snapshot is recent.
_RECENT = 10.0


def has_lost_most(configured: Collection[str], shown: Collection[str]) -> bool:
    """Whether a snapshot lacks most of the configured nodes: slurm.conf may be a mistake."""
    missing = sum(node not in shown for node in configured)
    return missing > _FEW and missing * 2 > len(configured)


@dataclass(frozen=True, slots=True)
class SlurmView:
    """What the store holds of Slurm.

    Attributes:
        generation: of the newest snapshot; 0 where there is none.
        power: by node.
        confirmed: whether it was taken after this worker began to use the store.
        fresh: whether it came so recently that it still counts.
        recent: whether it was taken, and came, within the last seconds: hardly a node registered since.
        age: seconds since it came, by the store's clock.
        ahead: seconds by which this host's clock is ahead of the hooks', where the last snapshots agree;
            otherwise 0.
        time: when the snapshot was taken, by the hooks' clock, ns since the epoch.
        answering: the nodes whose slurmd answers Slurm: a job may run on each.
    """

    generation: int
    power: Mapping[str, Power]
    confirmed: bool
    fresh: bool = True
    recent: bool = True
    age: float = 0.0
    ahead: float = 0.0
    time: int = 0
    answering: Collection[str] = ()

    def has_registered(self, node: str, generation: int) -> bool:
        """Whether Slurm, asked after that generation, counts the node as running."""
        return self.generation >= generation and self.power.get(node) is Power.ON

    def answers(self, node: str, generation: int) -> bool:
        """Whether Slurm, asked after that generation, hears the node's slurmd."""
        return self.generation >= generation and node in self.answering

    def is_booting(self, node: str) -> bool:
        """Whether Slurm waits for the node to register."""
        return self.power.get(node) is Power.POWERING_UP

    def wants(self, node: str, generation: int) -> bool:
        """Whether Slurm, asked after that generation, wants the node up."""
        return self.generation >= generation and self.power.get(node) in WANTED

    def is_off(self, node: str, configured: Collection[str]) -> bool:
        """Whether no job can be on the node: it is powered off, or Slurm does not know it."""
        if node in self.power:
            return self.power[node] is Power.OFF
        return bool(self.power) and not has_lost_most(configured, self.power)


class SnapshotReader:
    """Reads what the store holds of Slurm; `view` may be called by any thread.

    `enabled`: whether snapshots count; None for as soon as there is one. After `stale_after`
    seconds, a snapshot no longer counts as fresh.

    Attributes:
        silent: whether no snapshot has come since this worker began to use the store: late suspends
            and new ones wait.
        ahead: ns by which this host's clock is ahead of the hooks', as `SlurmView.ahead`.
    """

    def __init__(
        self, store: sa.Engine, cluster: str, *, enabled: bool | None, stale_after: float
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._enabled = enabled
        self._stale_after = stale_after
        self._trusted_from: int | None = None
        self._generation = 0
        self._late: list[str] = []  # the clouds not listed for it yet
        self._delays = snapshots.Delays()
        self._newest = SlurmView(0, {}, confirmed=False, fresh=False, recent=False)
        self.silent = False
        self.ahead = 0

    def doubt(self) -> None:
        """Note that the store was away: it may have come back in an old state."""
        self._trusted_from, self._generation = None, 0

    def view(self) -> SlurmView | None:
        """What the newest snapshot says; None where snapshots do not count."""
        if self._enabled is False:
            return None
        with reading(self._store) as connection:
            trusted_from = self._trust(connection)
            received = snapshots.snapshot_age(connection, self._cluster)
            if received is None:
                return self._newest if self._enabled else None
            newest = self._newest
            if received.generation != newest.generation:
                newest = self._newest = self._read(connection) or newest
                self._delays.note(newest.time, time.monotonic() - received.age)
        # the two clocks may differ: the quickest of the last ones took no time, as far as we know
        delayed = self._delays.of_newest
        taken = time.time() - newest.time / 1e9
        # what was held up by an outage comes in a burst, and differs by the time between two of them
        ahead = taken - received.age - delayed if self._delays.agree(_RECENT) else 0.0
        self.ahead = int(ahead * 1e9)
        return replace(
            newest,
            confirmed=newest.generation > trusted_from,
            fresh=received.is_fresh(self._stale_after),
            age=received.age,
            recent=received.is_fresh(_RECENT - delayed) and abs(taken - ahead) < _RECENT,
            ahead=ahead,
        )

    def has_registered(self, node: str, generation: int) -> bool:
        """Whether Slurm, asked after that generation, counts the node as running."""
        if self._generation != self._newest.generation:
            self.view()
        return self._newest.has_registered(node, generation)

    def wanted(self, clouds: Sequence[str]) -> tuple[int, list[str]]:
        """The newest snapshot's generation, and the clouds not listed for it yet."""
        if self._enabled is False:
            return 0, []
        with reading(self._store) as connection:
            trusted_from = self._trust(connection)
            newest = snapshots.snapshot_age(connection, self._cluster)
            self.silent = newest.generation <= trusted_from if newest else self._enabled is True
            if newest is None:
                return 0, []
            if newest.generation != self._generation or self._late:
                listed = snapshots.listed_generations(connection, self._cluster)
                self._late = [c for c in clouds if listed.get(c, 0) < newest.generation]
            self._generation = newest.generation
        return newest.generation, self._late

    def keep(self, cloud: str, generation: int, asked_at: int, servers: Sequence[Server]) -> None:
        """Keep a cloud's listing for a snapshot; `asked_at` in ns since the epoch."""
        with self._store.begin() as connection:
            listing = StoredListing(cloud, generation, asked_at, tuple(servers))
            snapshots.keep_listing(connection, self._cluster, listing)

    def condemned(self) -> frozenset[str]:
        """The ids of stray and surplus servers that are to be deleted."""
        query = sa.select(drifts.c.subject).where(
            drifts.c.cluster == self._cluster,
            drifts.c.kind.in_((STRAY, SURPLUS)),
            drifts.c.repairs > 0,
        )
        with reading(self._store) as connection:
            return frozenset(connection.scalars(query))

    def own_server(self, node: str) -> str | None:
        """The id of the node's own server; None if it is unknown, on hold, or acted on now."""
        with reading(self._store) as connection:
            on_hold = sa.exists().where(holds.c.cluster == self._cluster, holds.c.node == node)
            query = sa.select(nodes.c.server_id).where(
                nodes.c.cluster == self._cluster,
                nodes.c.node == node,
                sa.not_(is_leased(connection)),
                sa.not_(on_hold),
            )
            return connection.scalar(query)

    def is_unused(self, node: str, configured: Collection[str]) -> bool:
        """Whether no job can be on any server of the node, and nobody acts on it or holds it.

        By a fresh snapshot that was taken after the node's newest request. `configured`: all nodes.
        """
        slurm = self.view()
        if slurm is None or not slurm.fresh or not slurm.is_off(node, configured):
            return False
        with reading(self._store) as connection:
            held = holds.c.cluster == self._cluster, holds.c.node == node
            in_use = sa.or_(is_leased(connection), nodes.c.generation > slurm.generation)
            used = nodes.c.cluster == self._cluster, nodes.c.node == node, in_use
            query = sa.select(sa.or_(sa.exists().where(*held), sa.exists().where(*used)))
            return not connection.scalar(query)

    def _trust(self, connection: sa.Connection) -> int:
        """From when on (ns since the epoch) a snapshot must be taken to confirm the store."""
        if self._trusted_from is None:
            self._trusted_from = snapshots.store_now(connection) * _NS_PER_MS
        return self._trusted_from

    def _read(self, connection: sa.Connection) -> SlurmView | None:
        snapshot = snapshots.newest(connection, self._cluster)
        if snapshot is None:
            return None
        return SlurmView(
            snapshot.generation,
            {node.node: node.power for node in snapshot.nodes},
            confirmed=False,
            time=snapshot.time,
            answering={node.node for node in snapshot.nodes if node.answers},
        )
