"""Signs of life: each worker writes one every few seconds, and takes it away when it ends in order."""

from dataclasses import dataclass

import sqlalchemy as sa

from workers.store.tables import workers

EVERY_SECONDS = 5.0
# Some signs may be late: a busy disk, a store that another holds.
SILENT_SECONDS = 4 * EVERY_SECONDS
_NS = 1_000_000_000
# Where hosts come and go, no successor of a killed worker tells that it has one.
_KEPT_NS = 86_400 * _NS


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker's last sign; times in ns since the epoch, `state` in its own words."""

    role: str
    name: str
    host: str
    pid: int
    started_at: int
    seen_at: int
    state: str

    def is_silent(self, now: int) -> bool:
        """Whether it should have signed again by `now`, ns since the epoch."""
        return now - self.seen_at > SILENT_SECONDS * _NS


def write(connection: sa.Connection, cluster: str, sign: Heartbeat) -> None:
    """Put this sign in the place of the worker's last; what is a day old goes."""
    take_away(connection, cluster, sign.name)
    old = workers.c.seen_at < sign.seen_at - _KEPT_NS
    connection.execute(sa.delete(workers).where(workers.c.cluster == cluster, old))
    values = {name: getattr(sign, name) for name in Heartbeat.__dataclass_fields__}
    connection.execute(sa.insert(workers).values(cluster=cluster, **values))


def take_away(connection: sa.Connection, cluster: str, name: str) -> None:
    """The worker ends in order."""
    connection.execute(
        sa.delete(workers).where(workers.c.cluster == cluster, workers.c.name == name)
    )


def heartbeats(connection: sa.Connection, cluster: str) -> list[Heartbeat]:
    """The last sign of each worker, by role and name.

    Whoever was killed could take none away: its sign is left out once another of its role has
    started on its host since.
    """
    columns = (workers.c[name] for name in Heartbeat.__dataclass_fields__)
    query = (
        sa.select(*columns)
        .where(workers.c.cluster == cluster)
        .order_by(workers.c.role, workers.c.name)
    )
    found = [Heartbeat(*row) for row in connection.execute(query)]
    last: dict[tuple[str, str], int] = {}
    for sign in found:
        place = sign.role, sign.host
        last[place] = max(last.get(place, 0), sign.started_at)
    return [sign for sign in found if sign.seen_at >= last[sign.role, sign.host]]
