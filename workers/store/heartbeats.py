"""Stores heartbeats: each worker writes one every few seconds, and deletes it on a normal exit."""

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from workers.store.database import store_problem
from workers.store.tables import workers

INTERVAL_SECONDS = 5.0
# A state begins with this if the worker lacks something that it needs.
PROBLEM = "PROBLEM: "
# A few heartbeats may be late: a busy disk, or a store that another process has locked.
SILENT_SECONDS = 4 * INTERVAL_SECONDS
_NS = 1_000_000_000
# Where hosts come and go, the heartbeat of a killed worker may never get a successor.
_KEPT_NS = 86_400 * _NS


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a worker; times in ns since the epoch, `state` is free text."""

    role: str
    name: str
    host: str
    pid: int
    started_at: int
    seen_at: int
    state: str

    @property
    def has_problem(self) -> bool:
        """Whether the worker lacks something that it needs; its state says what."""
        return PROBLEM in self.state

    def is_silent(self, now: int) -> bool:
        """Whether the next heartbeat is overdue at `now`, ns since the epoch."""
        return now - self.seen_at > SILENT_SECONDS * _NS


def problem(state: str) -> str:
    """The state of a worker that lacks something: `status` and the console show it as wrong."""
    return f"{PROBLEM}{state}"


def store_away(error: BaseException) -> str:
    """The state of a worker whose store cannot be used."""
    return problem(f"waits for the store: {store_problem(error)}")


def write(connection: sa.Connection, cluster: str, heartbeat: Heartbeat) -> None:
    """Replace the worker's last heartbeat; delete those that are older than a day."""
    delete_heartbeat(connection, cluster, heartbeat.name)
    old = workers.c.seen_at < heartbeat.seen_at - _KEPT_NS
    connection.execute(sa.delete(workers).where(workers.c.cluster == cluster, old))
    connection.execute(sa.insert(workers).values(cluster=cluster, **asdict(heartbeat)))


def delete_heartbeat(connection: sa.Connection, cluster: str, name: str) -> None:
    """Delete the heartbeat of a worker that exits normally."""
    connection.execute(
        sa.delete(workers).where(workers.c.cluster == cluster, workers.c.name == name)
    )


def heartbeats(connection: sa.Connection, cluster: str) -> list[Heartbeat]:
    """The last heartbeat of each worker, by role and name.

    A killed worker leaves its heartbeat behind. It is omitted once another worker of the same role
    has started on the same host.
    """
    columns = (workers.c[name] for name in Heartbeat.__dataclass_fields__)
    query = sa.select(*columns).where(workers.c.cluster == cluster)
    ordered = query.order_by(workers.c.role, workers.c.name)
    found = [Heartbeat(*row) for row in connection.execute(ordered)]
    last_start: dict[tuple[str, str], int] = {}
    for one in found:
        key = one.role, one.host
        last_start[key] = max(last_start.get(key, 0), one.started_at)
    return [one for one in found if one.seen_at >= last_start[one.role, one.host]]


def other_clusters(connection: sa.Connection, cluster: str, now: int) -> list[str]:
    """The other clusters whose workers use this store now, ns since the epoch; there should be none."""
    recent = workers.c.seen_at > now - SILENT_SECONDS * _NS
    query = sa.select(workers.c.cluster).where(workers.c.cluster != cluster, recent).distinct()
    return sorted(connection.execute(query).scalars())
