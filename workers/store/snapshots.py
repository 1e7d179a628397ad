"""The newest snapshot of Slurm, and the clouds' listings that were made for it.

A listing is one row, written when it is whole: a cloud that did not answer has none for the newest
snapshot, so that what is missing there is never taken for gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from schemas.server import Server
from schemas.snapshot import Snapshot, parse_snapshot
from workers.store.database import store_clock
from workers.store.tables import listings, snapshots
from workers.store.upsert import insert


@dataclass(frozen=True, slots=True)
class Received:
    """When the newest snapshot came.

    Attributes:
        generation: the snapshot's.
        age: seconds ago, by the store's clock.
    """

    generation: int
    age: float


@dataclass(frozen=True, slots=True)
class StoredListing:
    """A cloud's servers.

    Attributes:
        generation: of the snapshot that it was made for.
        asked_at: ns since the epoch, on the listing worker's clock.
    """

    cloud: str
    generation: int
    asked_at: int
    servers: tuple[Server, ...]


def keep_snapshot(connection: sa.Connection, snapshot: Snapshot) -> bool:
    """Keep it unless what is there is newer; whether it is the newest now."""
    clock = store_clock(connection.dialect.name)
    statement = insert(connection, snapshots).values(
        cluster=snapshot.cluster,
        generation=snapshot.generation,
        received_at=clock,
        body=snapshot.to_envelope().to_json(),
    )
    statement = statement.on_conflict_do_update(
        index_elements=[snapshots.c.cluster],
        set_={name: statement.excluded[name] for name in ("generation", "body", "received_at")},
        where=statement.excluded.generation > snapshots.c.generation,
    )
    connection.execute(statement)
    newest = received(connection, snapshot.cluster)
    return newest is not None and newest.generation == snapshot.generation


def received(connection: sa.Connection, cluster: str) -> Received | None:
    """When the newest snapshot came; None where none ever has."""
    now = store_clock(connection.dialect.name)
    columns = snapshots.c.generation, now - snapshots.c.received_at
    row = connection.execute(sa.select(*columns).where(snapshots.c.cluster == cluster)).first()
    return None if row is None else Received(row[0], max(row[1], 0) / 1000)


def newest(connection: sa.Connection, cluster: str) -> Snapshot | None:
    """The newest snapshot."""
    body = connection.scalar(sa.select(snapshots.c.body).where(snapshots.c.cluster == cluster))
    return None if body is None else parse_snapshot(body)


def keep_listing(connection: sa.Connection, cluster: str, listing: StoredListing) -> None:
    """Keep it, unless one for a newer snapshot is there."""
    body = msgspec.json.encode(listing.servers)
    statement = insert(connection, listings).values(
        cluster=cluster,
        cloud=listing.cloud,
        generation=listing.generation,
        asked_at=listing.asked_at,
        body=body,
    )
    statement = statement.on_conflict_do_update(
        index_elements=[listings.c.cluster, listings.c.cloud],
        set_={name: statement.excluded[name] for name in ("generation", "asked_at", "body")},
        where=statement.excluded.generation >= listings.c.generation,
    )
    connection.execute(statement)


def listed_for(connection: sa.Connection, cluster: str) -> Mapping[str, int]:
    """By cloud, the generation that its listing was made for."""
    query = sa.select(listings.c.cloud, listings.c.generation).where(listings.c.cluster == cluster)
    return {row.cloud: row.generation for row in connection.execute(query)}


def all_listings(connection: sa.Connection, cluster: str) -> Iterable[StoredListing]:
    """Each cloud's."""
    query = sa.select(
        listings.c.cloud, listings.c.generation, listings.c.asked_at, listings.c.body
    ).where(listings.c.cluster == cluster)
    for cloud, generation, asked_at, body in connection.execute(query):
        servers = msgspec.json.decode(body, type=tuple[Server, ...])
        yield StoredListing(cloud, generation, asked_at, servers)


def store_now(connection: sa.Connection) -> int:
    """Now on the store's clock: ms since the epoch."""
    return int(connection.execute(sa.select(store_clock(connection.dialect.name))).scalar_one())
