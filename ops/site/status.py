"""`lamplighter status`: the workers, the queue depths and the node states."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
import hostlist
import sqlalchemy as sa

from ops.cli.errors import EXIT_AWAY, STORE_ERRORS, noting
from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import Columns, duration_of, print_json, print_line, print_rows, warn
from ops.nodes.holds import print_holds
from ops.nodes.listing import print_images
from ops.nodes.out_of_service import COLUMNS as OUT_OF_SERVICE
from ops.nodes.out_of_service import OutOfService, out_of_service
from workers.broker.depths import QueueDepth, queue_depths
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.resync import drift_memory
from workers.store import snapshots
from workers.store.group_images import GroupImage, by_group
from workers.store.heartbeats import SILENT_SECONDS, heartbeats
from workers.store.holds import Hold, all_holds
from workers.store.tables import nodes

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker: the seconds since its start and since its last heartbeat."""

    role: str
    name: str
    up_seconds: float
    silent_seconds: float
    state: str


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes with the same desired and observed state; observed is None if it is unknown."""

    desired: str
    observed: str | None
    count: int
    names: str


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """The age of the newest snapshot, whether it is too old to act on, and the number of drifts."""

    age_seconds: float
    stale: bool
    drifts: int


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What the state store contains, by JSON key; `slurm` is None if there was never a snapshot."""

    workers: Sequence[WorkerStatus] = ()
    nodes: Sequence[NodeGroup] = ()
    out_of_service: Sequence[OutOfService] = ()
    on_hold: Sequence[Hold] = ()
    slurm: SnapshotStatus | None = None
    images: Sequence[GroupImage] = ()


_WORKERS: Columns[WorkerStatus] = {
    "worker": lambda worker: worker.role,
    "name": lambda worker: worker.name,
    "up": lambda worker: duration_of(worker.up_seconds),
    "last heartbeat": lambda worker: (
        f"{duration_of(worker.silent_seconds)} ago"
        + (": SILENT" if worker.silent_seconds > SILENT_SECONDS else "")
    ),
    "state": lambda worker: worker.state,
}
_QUEUES: Columns[QueueDepth] = {
    "queue": lambda queue: queue.name,
    "ready": lambda queue: (
        "MISSING: run lamplighter topology apply" if queue.ready is None else queue.ready
    ),
    "consumers": lambda queue: queue.consumers,
}
_NODES: Columns[NodeGroup] = {
    "desired": lambda group: group.desired,
    "observed": lambda group: group.observed,
    "nodes": lambda group: group.count,
    "names": lambda group: group.names,
}


@click.command
@json_option()
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Show workers, queue depths and node states.

    If a store or the broker is unavailable, the rest is shown, and the exit code is 3.
    """
    settings = session.settings
    problems: list[str] = []
    stored = StoreStatus()
    queues: list[QueueDepth] = []
    with noting(problems, *STORE_ERRORS), session.reading("state") as connection:
        stored = _read_store(connection, settings)
    with noting(problems, BrokerError), session.channel() as channel:
        queues = queue_depths(channel)
    if as_json:
        print_json(
            {
                "cluster": settings.cluster,
                "dry_run": settings.dry_groups,
                "one_broker_user": settings.broker.users is None,
                "queues": [asdict(queue) for queue in queues],
                **asdict(stored),
                "problems": problems,
            }
        )
    else:
        _print(settings, stored, queues)
        for problem in problems:
            warn(problem)
    if problems:
        raise SystemExit(EXIT_AWAY)


def _print(settings: Settings, stored: StoreStatus, queues: Sequence[QueueDepth]) -> None:
    if settings.dry_groups:
        groups = ", ".join(settings.dry_groups)
        line = f"DRY RUN of {groups}: no calls to clouds, no changes in Slurm"
        print_line(line, style="bold white on red")
    if settings.broker.users is None:
        print_line("one broker user for all roles: who has its password can do everything")
    print_rows(_WORKERS, stored.workers)
    print_line("" if stored.workers else "no worker has sent a heartbeat")
    print_rows(_QUEUES, queues)
    print_line("")
    print_rows(_NODES, stored.nodes)
    if stored.out_of_service:
        print_line("")
        print_rows(OUT_OF_SERVICE, stored.out_of_service)
    print_holds(stored.on_hold)
    if stored.slurm is not None:
        age, drifts = duration_of(stored.slurm.age_seconds), stored.slurm.drifts
        print_line("")
        if stored.slurm.stale:
            print_line(f"STALE: the newest snapshot of Slurm is {age} old: nothing is repaired")
        else:
            print_line(f"snapshot of Slurm {age} ago; {drifts} drifts (lamplighter drift)")
    print_images(stored.images)


def _read_store(connection: sa.Connection, settings: Settings) -> StoreStatus:
    cluster, now = settings.cluster, time.time_ns()
    newest = snapshots.snapshot_age(connection, cluster)
    drifts = len(drift_memory.recall(connection, cluster))
    return StoreStatus(
        workers=[
            WorkerStatus(
                worker.role,
                worker.name,
                max(0, now - worker.started_at) / _NS,
                max(0, now - worker.seen_at) / _NS,
                worker.state,
            )
            for worker in heartbeats(connection, cluster)
        ],
        nodes=_node_groups(connection, cluster),
        out_of_service=out_of_service(connection, cluster),
        on_hold=list(all_holds(connection, cluster).values()),
        slurm=SnapshotStatus(newest.age, newest.age > settings.stale_after, drifts)
        if newest
        else None,
        images=list(by_group(connection, cluster).values()),
    )


def _node_groups(connection: sa.Connection, cluster: str) -> list[NodeGroup]:
    query = sa.select(nodes.c.desired, nodes.c.observed, nodes.c.node).where(
        nodes.c.cluster == cluster
    )
    groups: dict[tuple[str, str | None], list[str]] = {}
    for desired, observed, node in connection.execute(query):
        groups.setdefault((desired, observed), []).append(node)
    return [
        NodeGroup(desired, observed, len(names), hostlist.collect_hostlist(names))
        for (desired, observed), names in sorted(groups.items(), key=lambda item: str(item[0]))
    ]
