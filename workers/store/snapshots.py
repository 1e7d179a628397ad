"""Stores the newest snapshot of Slurm, and the clouds' listings that were made for it.

A listing is one row, written when the listing is complete. A cloud that did not answer has no listing
for the newest snapshot, so that its servers are never taken for deleted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from schemas.server import Server
from schemas.snapshot import Snapshot, parse_snapshot
from workers.store.database import store_clock, upsert
from workers.store.tables import listings, snapshots

# Seconds by which a clock may be set back unnoticed, as time servers do it.
_UNNOTICED = 1.0
# How many of the last snapshots show by how much the hooks' clock and ours differ.
_COMPARED = 5


@dataclass(frozen=True, slots=True)
class SnapshotAge:
    """The generation of the newest snapshot, and its age in seconds by the store's clock.

    The age is below 0 if the store's clock was set back since: nobody knows then how old it is.
    """

    generation: int
    age: float

    def is_fresh(self, stale_after: float) -> bool:
        """Whether it came at most this many seconds ago."""
        return 0 <= self.age <= stale_after


class Delays:
    """How long after their time the last five snapshots came, by the clock of whoever received them.

    In seconds, which also hold by how much that clock differs from the hooks': only their differences
    mean anything. Many threads, and many parts, may show one snapshot: the first one counts.
    """

    def __init__(self) -> None:
        self._of: dict[int, float] = {}

    def note(self, taken: int, arrived: float) -> None:
        """A snapshot of this time (ns since the epoch) has arrived; monotonic seconds."""
        if taken not in self._of:
            of = {**self._of, taken: arrived - taken / 1e9}
            self._of = dict([*of.items()][-_COMPARED:])

    @property
    def of_newest(self) -> float:
        """How much longer the newest one took than the quickest; 0 without any."""
        delays = [*self._of.values()]
        return delays[-1] - min(delays) if delays else 0.0

    def agree(self, within: float) -> bool:
        """Whether there are five, and they came as fast as they were taken, but for some seconds."""
        delays = self._of.values()
        return len(delays) == _COMPARED and max(delays) - min(delays) < within


@dataclass(frozen=True, slots=True)
class StoredListing:
    """The servers of a cloud, listed for the snapshot of this generation.

    `requested_at` is in ns since the epoch, by the clock of the worker that listed.
    """

    cloud: str
    generation: int
    requested_at: int
    servers: tuple[Server, ...]


def keep_snapshot(connection: sa.Connection, snapshot: Snapshot) -> bool:
    """Store a snapshot unless the stored one is newer; returns whether it is the newest now."""
    statement = upsert(
        connection.dialect.name,
        snapshots,
        where=lambda new: new.generation > snapshots.c.generation,
    ).values(
        cluster=snapshot.cluster,
        generation=snapshot.generation,
        received_at=store_clock(connection.dialect.name),
        body=snapshot.to_envelope().to_json(),
    )
    connection.execute(statement)
    stored = snapshot_age(connection, snapshot.cluster)
    return stored is not None and stored.generation == snapshot.generation


def snapshot_age(connection: sa.Connection, cluster: str) -> SnapshotAge | None:
    """The age of the newest snapshot; None if no snapshot was ever received."""
    now = store_clock(connection.dialect.name)
    columns = snapshots.c.generation, now - snapshots.c.received_at
    row = connection.execute(sa.select(*columns).where(snapshots.c.cluster == cluster)).first()
    if row is None:
        return None
    age = row[1] / 1000
    return SnapshotAge(row[0], age if age < -_UNNOTICED else max(age, 0.0))


def newest(connection: sa.Connection, cluster: str) -> Snapshot | None:
    """The newest snapshot."""
    body = connection.scalar(sa.select(snapshots.c.body).where(snapshots.c.cluster == cluster))
    return None if body is None else parse_snapshot(body)


def keep_listing(connection: sa.Connection, cluster: str, listing: StoredListing) -> None:
    """Store a listing unless the stored one is for a newer snapshot."""
    statement = upsert(
        connection.dialect.name, listings, where=lambda new: new.generation >= listings.c.generation
    ).values(
        cluster=cluster,
        cloud=listing.cloud,
        generation=listing.generation,
        requested_at=listing.requested_at,
        body=msgspec.json.encode(listing.servers),
    )
    connection.execute(statement)


def listed_generations(connection: sa.Connection, cluster: str) -> Mapping[str, int]:
    """For each cloud, the generation of the snapshot that its listing was made for."""
    query = sa.select(listings.c.cloud, listings.c.generation).where(listings.c.cluster == cluster)
    return {row.cloud: row.generation for row in connection.execute(query)}


def all_listings(connection: sa.Connection, cluster: str) -> Iterable[StoredListing]:
    """The listings of all clouds."""
    query = sa.select(
        listings.c.cloud, listings.c.generation, listings.c.requested_at, listings.c.body
    ).where(listings.c.cluster == cluster)
    for cloud, generation, requested_at, body in connection.execute(query):
        servers = msgspec.json.decode(body, type=tuple[Server, ...])
        yield StoredListing(cloud, generation, requested_at, servers)


def store_now(connection: sa.Connection) -> int:
    """The time by the store's clock, in ms since the epoch."""
    return int(connection.execute(sa.select(store_clock(connection.dialect.name))).scalar_one())
