"""`lamplighter status`: the workers, the queue depths and the node states."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
import hostlist
import sqlalchemy as sa

from ops.cli.errors import EXIT_AWAY, StoreMissingError, describe_error
from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import duration_of, print_json, print_line, print_table, warn
from ops.nodes.holds import print_holds
from ops.nodes.listing import print_images
from ops.nodes.out_of_service import OutOfService, out_of_service, print_out_of_service
from ops.site.slurm_view import SnapshotStatus, print_snapshot_status, snapshot_status
from workers.broker.depths import QueueDepth, queue_depths
from workers.config.settings import Settings
from workers.errors import BrokerError
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
class StoreStatus:
    """What the state store contains; its fields are keys of the JSON output."""

    workers: Sequence[WorkerStatus] = ()
    nodes: Sequence[NodeGroup] = ()
    out_of_service: Sequence[OutOfService] = ()
    on_hold: Sequence[Hold] = ()
    slurm: SnapshotStatus | None = None
    images: Sequence[GroupImage] = ()


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
    try:
        with session.reading("state") as connection:
            stored = _read_store(connection, settings)
    except (sa.exc.SQLAlchemyError, StoreMissingError) as error:
        problems.append(describe_error(error))
    try:
        with session.channel() as channel:
            queues = queue_depths(channel)
    except BrokerError as error:
        problems.append(describe_error(error))
    if as_json:
        print_json(
            {
                "cluster": settings.cluster,
                "dry_run": settings.dry_groups,
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
        line = (
            f"DRY RUN of {', '.join(settings.dry_groups)}: no calls to clouds, no changes in Slurm"
        )
        print_line(line, style="bold white on red")
    print_table(
        ("worker", "name", "up", "last heartbeat", "state"),
        [
            (
                worker.role,
                worker.name,
                duration_of(worker.up_seconds),
                _last_heartbeat(worker),
                worker.state,
            )
            for worker in stored.workers
        ],
    )
    print_line("" if stored.workers else "no worker has sent a heartbeat")
    print_table(
        ("queue", "ready", "consumers"),
        [
            (
                queue.name,
                "MISSING: run lamplighter topology apply" if queue.ready is None else queue.ready,
                queue.consumers,
            )
            for queue in queues
        ],
    )
    print_line("")
    print_table(
        ("desired", "observed", "nodes", "names"),
        [(group.desired, group.observed, group.count, group.names) for group in stored.nodes],
    )
    print_out_of_service(stored.out_of_service)
    print_holds(list(stored.on_hold))
    print_snapshot_status(stored.slurm)
    print_images(list(stored.images))


def _last_heartbeat(worker: WorkerStatus) -> str:
    ago = f"{duration_of(worker.silent_seconds)} ago"
    return f"{ago}: SILENT" if worker.silent_seconds > SILENT_SECONDS else ago


def _read_store(connection: sa.Connection, settings: Settings) -> StoreStatus:
    cluster = settings.cluster
    return StoreStatus(
        workers=_workers(connection, cluster),
        nodes=_node_groups(connection, cluster),
        out_of_service=out_of_service(connection, cluster),
        on_hold=list(all_holds(connection, cluster).values()),
        slurm=snapshot_status(connection, settings),
        images=list(by_group(connection, cluster).values()),
    )


def _workers(connection: sa.Connection, cluster: str) -> list[WorkerStatus]:
    now = time.time_ns()
    return [
        WorkerStatus(
            heartbeat.role,
            heartbeat.name,
            max(0, now - heartbeat.started_at) / _NS,
            max(0, now - heartbeat.seen_at) / _NS,
            heartbeat.state,
        )
        for heartbeat in heartbeats(connection, cluster)
    ]


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
