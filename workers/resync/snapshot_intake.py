"""Receives snapshots: joins their parts, and stores each complete one."""

import time

import sqlalchemy as sa
import structlog

from schemas.errors import MalformedMessageError
from schemas.snapshot import Snapshot, join_parts, snapshot_from
from workers.broker.delivery import Delivery
from workers.config.settings import Settings
from workers.store import snapshots
from workers.store.database import reading
from workers.store.generations import CLOCKS_DIFFER, is_after_reset

_NS = 1_000_000_000


class SnapshotIntake:
    """Holds the parts of the snapshot that arrives; a lost part costs one snapshot."""

    def __init__(self, settings: Settings, store: sa.Engine) -> None:
        self._settings = settings
        self._store = store
        self._parts: list[Snapshot] = []
        self._delays = snapshots.Delays()
        self._log = structlog.get_logger()

    def add(self, delivery: Delivery) -> Snapshot | None:
        """The snapshot that this part completes, once stored; None if it is incomplete or outdated.

        Raises:
            sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError: the store is unavailable.
        """
        try:
            part = snapshot_from(delivery.envelope())
        except MalformedMessageError as error:
            self._log.error("message_rejected", queue=delivery.queue, field=error.field)
            return None
        now = time.time_ns()
        ours = part.cluster == self._settings.cluster
        # one from the future shows how far the hooks' clock has come, unless that was reset since
        if not (ours and self._is_fresh(part, now)) or self._is_from_before_reset(part, now):
            age = round((now - part.time) / _NS, 1)
            self._log.error("snapshot_rejected", cluster=part.cluster, age=age)
            return None
        if self._parts and part.generation < self._parts[0].generation:
            return None
        same = [p for p in self._parts if p.correlation_id == part.correlation_id]
        self._parts = [*same, part]
        whole = join_parts(self._parts)
        if whole is None:
            return None
        with self._store.begin() as connection:
            is_newest = snapshots.keep_snapshot(connection, whole)
        return whole if is_newest else None

    def _is_fresh(self, part: Snapshot, now: int) -> bool:
        """Whether it was not in the queue for long: such a one no longer shows Slurm's state.

        Snapshots that come as fast as they are taken were not, though all seem to be old: our clock is
        ahead of the hooks'.
        """
        self._delays.note(part.time, time.monotonic())
        is_young = now - part.time <= self._settings.stale_after * _NS
        return is_young or self._delays.agree(self._settings.slurm.snapshot_interval / 2)

    def _is_from_before_reset(self, part: Snapshot, now: int) -> bool:
        if part.generation <= now + CLOCKS_DIFFER:
            return False
        with reading(self._store) as connection:
            return is_after_reset(connection, self._settings.cluster, now)
