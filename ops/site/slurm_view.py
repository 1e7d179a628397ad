"""The age of Slurm's newest snapshot and the number of drifts, for `lamplighter status`."""

from dataclasses import dataclass

import sqlalchemy as sa

from ops.cli.terminal import duration_of, print_line
from workers.config.settings import Settings
from workers.resync import drift_memory
from workers.store import snapshots


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """The age of the newest snapshot, whether it is too old to act on, and the number of drifts."""

    age_seconds: float
    stale: bool
    drifts: int


def snapshot_status(connection: sa.Connection, settings: Settings) -> SnapshotStatus | None:
    """The status of the newest snapshot; None if there has never been a snapshot."""
    newest = snapshots.snapshot_age(connection, settings.cluster)
    if newest is None:
        return None
    drifts = len(drift_memory.recall(connection, settings.cluster))
    return SnapshotStatus(newest.age, newest.age > settings.stale_after, drifts)


def print_snapshot_status(status: SnapshotStatus | None) -> None:
    """Print one line; nothing if there has never been a snapshot."""
    if status is None:
        return
    age = duration_of(status.age_seconds)
    print_line("")
    if status.stale:
        print_line(f"STALE: the newest snapshot of Slurm is {age} old: nothing is repaired")
    else:
        print_line(f"snapshot of Slurm {age} ago; {status.drifts} drifts (lamplighter drift)")
