"""`lamplighter status`: the workers, the queue depths and the node states."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import click
import hostlist
import sqlalchemy as sa

from ops.cli.errors import STORE_ERRORS, noting
from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import Columns, duration_of, print_json, print_line, print_rows, warn
from ops.nodes.holds import print_holds
from ops.nodes.listing import print_images
from ops.nodes.out_of_service import COLUMNS as OUT_OF_SERVICE
from ops.nodes.out_of_service import OutOfService, out_of_service
from ops.site import findings
from ops.site.findings import Finding, Severity
from ops.site.spooled import spools
from workers.broker.depths import QueueDepth
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.resync import drift_memory
from workers.resync.slurm_conf import ConfDifference, conf_differences
from workers.store import overview, snapshots
from workers.store.group_images import GroupImage, by_group
from workers.store.heartbeats import SILENT_SECONDS, heartbeats, other_clusters
from workers.store.holds import Hold, all_holds
from workers.store.overview import NodePower
from workers.store.power_state import PowerState
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
    slurm_conf: Sequence[ConfDifference] = ()


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
    """Show workers, queue depths and node states, and what is wrong.

    The last line says that all is well, or what is wrong first. Exit code 1: something is wrong.
    If a store or the broker is unavailable, the rest is shown, and the exit code is 3.
    """
    settings = session.settings
    problems: list[str] = []
    stored = StoreStatus()
    queues: list[QueueDepth] = []
    in_store: list[Finding] = []
    with noting(problems, *STORE_ERRORS), session.reading("state") as connection:
        stored = _read_store(connection, settings)
        powers = overview.node_powers(connection, settings.cluster)
        in_store = store_findings(connection, settings, powers)
    waiting = spools(settings.hook)
    of_broker: list[str] = []
    with noting(of_broker, BrokerError):
        queues = session.depths()  # these are shown if the proof fails
        session.prove_health(queues)
        queues = session.depths()
    problems += of_broker
    found = findings.ordered(
        [
            *findings.unavailable(problems),
            # without a quorum the counts are wrong
            *findings.of_queues([] if of_broker else queues),
            *findings.of_spools(waiting),
            *in_store,
            *findings.of_conf(stored.slurm_conf),
            *findings.of_settings(settings.dry_groups),
            *findings.of_roles(settings.broker),
        ]
    )
    if as_json:
        print_json(
            {
                "cluster": settings.cluster,
                "dry_run": settings.dry_groups,
                "queues": [asdict(queue) for queue in queues],
                "spools": [asdict(spool) for spool in waiting],
                **asdict(stored),
                "problems": problems,
                "findings": [finding.as_json() for finding in found],
                "summary": findings.summary(found),
            }
        )
    else:
        for note in findings.of_settings(settings.dry_groups):
            print_line(note.text, style="bold white on red")
        _print(stored, queues)
        _print_findings(found)
    raise SystemExit(findings.exit_code(found))


def store_findings(
    connection: sa.Connection, settings: Settings, powers: Mapping[str, NodePower]
) -> list[Finding]:
    """What is wrong by what the state store holds; `powers` are the nodes' (overview.node_powers)."""
    cluster, now = settings.cluster, time.time_ns()
    newest = snapshots.snapshot_age(connection, cluster)
    stale = newest is not None and not newest.is_fresh(settings.stale_after)
    ends = overview.refresh_token_expiries(connection)
    refreshed = {name: ends[name] for name in settings.refreshed_clouds if name in ends}
    drifts = drift_memory.recall(connection, cluster).values()
    failed = [one.node for one in powers.values() if one.power is PowerState.FAILED]
    return [
        *findings.of_workers(heartbeats(connection, cluster), now),
        *findings.of_other_clusters(other_clusters(connection, cluster, now)),
        *findings.of_snapshot(stale=stale and settings.resync.enabled is not False),
        *findings.of_logins(refreshed, now),
        *findings.of_drifts(
            Counter(str(one.drift) for one in drifts),
            max((now - one.since for one in drifts), default=0),
        ),
        *findings.of_failed_nodes(failed),
    ]


def _print_findings(found: Sequence[Finding]) -> None:
    """What does not answer goes to standard error; the summary is the last line."""
    print_line("")
    for finding in found:
        if finding.severity is Severity.AWAY:
            warn(finding.text)
        else:
            print_line(f"{finding.severity.name.lower()}: {finding.text}")
    wrong = findings.exit_code(found) != 0
    print_line(findings.summary(found), style="bold red" if wrong else "bold green")


def _print(stored: StoreStatus, queues: Sequence[QueueDepth]) -> None:
    print_rows(_WORKERS, stored.workers, empty="no worker has sent a heartbeat")
    print_line("")
    print_rows(_QUEUES, queues, empty="queues unknown")
    print_line("")
    print_rows(_NODES, stored.nodes, empty="no node has had a request")
    if stored.out_of_service:
        print_line("")
        print_rows(OUT_OF_SERVICE, stored.out_of_service, empty="no nodes")
    print_holds(stored.on_hold)
    if stored.slurm is not None:
        age, drifts = duration_of(stored.slurm.age_seconds), stored.slurm.drifts
        print_line("")
        if stored.slurm.stale:
            print_line(f"STALE: the newest snapshot of Slurm is {age} old: nothing is repaired")
        else:
            print_line(f"snapshot of Slurm {age} ago; drifts: {drifts} (lamplighter drift)")
    for difference in stored.slurm_conf:
        print_line(f"{'WRONG: ' if difference.wrong else ''}{difference.text}")
    print_images(stored.images)


def _read_store(connection: sa.Connection, settings: Settings) -> StoreStatus:
    cluster, now = settings.cluster, time.time_ns()
    newest = snapshots.snapshot_age(connection, cluster)
    snapshot = snapshots.newest(connection, cluster)
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
        slurm=SnapshotStatus(newest.age, not newest.is_fresh(settings.stale_after), drifts)
        if newest
        else None,
        images=list(by_group(connection, cluster).values()),
        slurm_conf=conf_differences(settings, snapshot) if snapshot else (),
    )


def _node_groups(connection: sa.Connection, cluster: str) -> list[NodeGroup]:
    query = sa.select(nodes.c.desired, nodes.c.observed, nodes.c.node).where(
        nodes.c.cluster == cluster, nodes.c.generation > 0
    )
    groups: dict[tuple[str, str | None], list[str]] = {}
    for desired, observed, node in connection.execute(query):
        groups.setdefault((desired, observed), []).append(node)
    return [
        NodeGroup(desired, observed, len(names), hostlist.collect_hostlist(names))
        for (desired, observed), names in sorted(groups.items(), key=lambda item: str(item[0]))
    ]
