"""How fresh Slurm's view is, and how many nodes are not as it wants them, for `lamplighter status`."""

from dataclasses import dataclass

import sqlalchemy as sa

from ops.cli.terminal import duration, print_line
from workers.config.settings import Settings
from workers.resync import drift_memory
from workers.store import snapshots

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """The newest snapshot's age; whether it says anything still; what was found to differ."""

    age_seconds: float
    stale: bool
    drifts: int


def snapshot_status(connection: sa.Connection, settings: Settings) -> SnapshotStatus | None:
    """None where no snapshot has ever come."""
    newest = snapshots.received(connection, settings.cluster)
    if newest is None:
        return None
    drifts = len(drift_memory.recall(connection, settings.cluster))
    return SnapshotStatus(newest.age, newest.age > settings.stale_after, drifts)


def print_snapshot_status(view: SnapshotStatus | None) -> None:
    """For people; nothing where no snapshot has ever come."""
    if view is None:
        return
    age = duration(round(view.age_seconds * _NS))
    print_line("")
    if view.stale:
        print_line(f"STALE: the newest snapshot of Slurm is {age} old: nothing is repaired")
    else:
        print_line(f"snapshot of Slurm {age} ago; {view.drifts} drifts (lamplighter drift)")
