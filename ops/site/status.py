"""`lamplighter status`: what runs, how deep the queues are, how the nodes are."""

import time
from dataclasses import asdict, dataclass

import click
import hostlist
import sqlalchemy as sa

from ops.cli.errors import EXIT_AWAY, StoreMissingError, explain
from ops.cli.session import Session, pass_session
from ops.cli.terminal import duration, print_json, print_line, print_table
from ops.nodes.command import words
from ops.nodes.holds import print_holds
from ops.nodes.out_of_service import Out, out_of_service, print_out
from ops.site.slurm_view import SnapshotStatus, print_snapshot_status, snapshot_status
from workers.broker.depths import QueueDepth, queue_depths
from workers.errors import BrokerError
from workers.store.group_images import GroupImage, by_group
from workers.store.heartbeats import SILENT_SECONDS, heartbeats
from workers.store.holds import Hold, all_holds
from workers.store.tables import nodes

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker: since when it is up, and how old its last sign of life is."""

    role: str
    name: str
    up_seconds: float
    silent_seconds: float
    state: str


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes that are alike; observed is None where nobody looked yet."""

    desired: str
    observed: str | None
    count: int
    names: str


@click.command
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Print what runs, queue depths, and nodes by desired and observed state.

    What cannot be asked (a store or the broker is away) is said; the rest is printed.
    """
    dry = session.settings.dry_groups
    problems: list[str] = []
    running: list[Worker] = []
    alike: list[Nodes] = []
    queues: list[QueueDepth] = []
    images: list[GroupImage] = []
    out: list[Out] = []
    holds: list[Hold] = []
    view: SnapshotStatus | None = None
    try:
        with session.reading("state") as connection:
            running = _workers(connection, session.settings.cluster)
            alike = _nodes(connection, session.settings.cluster)
            images = list(by_group(connection, session.settings.cluster).values())
            out = out_of_service(connection, session.settings.cluster)
            holds = list(all_holds(connection, session.settings.cluster).values())
            view = snapshot_status(connection, session.settings)
    except (sa.exc.SQLAlchemyError, StoreMissingError) as error:
        problems.append(_words(error))
    try:
        with session.channel() as channel:
            queues = queue_depths(channel)
    except BrokerError as error:
        problems.append(_words(error))
    if as_json:
        print_json(
            {
                "cluster": session.settings.cluster,
                "dry_run": dry,
                "workers": [asdict(worker) for worker in running],
                "queues": [asdict(queue) for queue in queues],
                "nodes": [asdict(group) for group in alike],
                "out_of_service": [asdict(group) for group in out],
                "on_hold": [asdict(hold) for hold in holds],
                "slurm": asdict(view) if view else None,
                "images": [asdict(image) for image in images],
                "problems": problems,
            }
        )
    else:
        if dry:
            line = f"DRY RUN of {', '.join(dry)}: no cloud is called, Slurm is told nothing"
            print_line(line, style="bold white on red")
        _print(running, queues, alike)
        print_out(out)
        print_holds(holds)
        print_snapshot_status(view)
        for image in images:
            print_line(f"servers of {image.group_name} are made from {words(image)}")
        for problem in problems:
            click.echo(f"lamplighter: {problem}", err=True)
    if problems:
        raise SystemExit(EXIT_AWAY)


def _print(running: list[Worker], queues: list[QueueDepth], alike: list[Nodes]) -> None:
    print_table(
        ("worker", "name", "up", "last sign", "state"),
        [
            (
                worker.role,
                worker.name,
                duration(round(worker.up_seconds * _NS)),
                _last_sign(worker),
                worker.state,
            )
            for worker in running
        ],
    )
    print_line("" if running else "no worker has signed")
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
        [(group.desired, group.observed, group.count, group.names) for group in alike],
    )


def _last_sign(worker: Worker) -> str:
    ago = f"{duration(round(worker.silent_seconds * _NS))} ago"
    return f"{ago}: SILENT" if worker.silent_seconds > SILENT_SECONDS else ago


def _workers(connection: sa.Connection, cluster: str) -> list[Worker]:
    now = time.time_ns()
    return [
        Worker(
            sign.role,
            sign.name,
            max(0, now - sign.started_at) / _NS,
            max(0, now - sign.seen_at) / _NS,
            sign.state,
        )
        for sign in heartbeats(connection, cluster)
    ]


def _nodes(connection: sa.Connection, cluster: str) -> list[Nodes]:
    query = sa.select(nodes.c.desired, nodes.c.observed, nodes.c.node).where(
        nodes.c.cluster == cluster
    )
    alike: dict[tuple[str, str | None], list[str]] = {}
    for desired, observed, node in connection.execute(query):
        alike.setdefault((desired, observed), []).append(node)
    return [
        Nodes(desired, observed, len(names), hostlist.collect_hostlist(names))
        for (desired, observed), names in sorted(alike.items(), key=lambda item: str(item[0]))
    ]


def _words(error: Exception) -> str:
    explained = explain(error)
    return explained[0] if explained else f"{type(error).__name__}: {error}"
