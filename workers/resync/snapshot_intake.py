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
        age = (now - part.generation) / _NS
        # a part that was in the queue for long no longer shows Slurm's state; one from the future
        # shows how far the hooks' clock has come, unless that was reset since
        fresh = age <= self._settings.stale_after and not self._is_from_before_reset(part, now)
        if part.cluster != self._settings.cluster or not fresh:
            self._log.error("snapshot_rejected", cluster=part.cluster, age=round(age, 1))
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

    def _is_from_before_reset(self, part: Snapshot, now: int) -> bool:
        if part.generation <= now + CLOCKS_DIFFER:
            return False
        with reading(self._store) as connection:
            return is_after_reset(connection, self._settings.cluster, now)
