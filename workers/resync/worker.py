"""The loop of the resync worker: compares the newest snapshot, requests repairs, sends notices."""

import queue
import socket
import time
from collections.abc import Sequence

import structlog

from schemas.notices import Notice
from schemas.snapshot import Snapshot
from workers.broker import outgoing
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.errors import BrokerError
from workers.process.runtime import Runtime
from workers.resync import drift_memory, notices
from workers.resync.drift import Drift, RepairStep
from workers.resync.plan import (
    FoundDrift,
    needing_repair,
    next_memories,
    plan,
    repair_requests,
    strays_to_delete,
    to_notify_once,
)
from workers.resync.snapshot_intake import SnapshotIntake
from workers.resync.survey import Survey, survey
from workers.store import snapshots
from workers.store.database import STORE_ERRORS, reading
from workers.store.heartbeats import problem

# Seconds between two looks: while a snapshot waits for its listings, and while none does.
_POLL, _IDLE = 0.2, 0.5
_STORE_RETRY = 1.0
_CONFIRM = 30.0
_CHECK_AGE = 1.0
_REPAIRS = frozenset({RepairStep.RESUME, RepairStep.SUSPEND, RepairStep.DELETE})


class ResyncWorker:
    """Handles one snapshot after the other.

    A snapshot is compared once all clouds have been listed for it, or their time to be listed is over.
    After any loss (a part, the store for a while) the worker continues with the next snapshot.

    `link` acknowledges snapshots, and publishes requests and notices; `deliveries` are the parts of
    snapshots.
    """

    def __init__(self, run: Runtime, link: Link, deliveries: queue.Queue[Delivery]) -> None:
        self._run = run
        self._link = link
        self._deliveries = deliveries
        self._settings = run.settings
        self._intake = SnapshotIntake(run.settings, run.store)
        self._pending: Snapshot | None = None
        self._compare_at = 0.0
        self._started = time.monotonic()
        self._next_age_check = 0.0
        self._age_checks = max(_CHECK_AGE, run.settings.stale_after / 30)
        self._notified_stale: int | None = None
        self._doubted: tuple[str, ...] = ()
        self._state = "no snapshot has been received: nothing is repaired"
        self._log = structlog.get_logger()

    def turn(self) -> None:
        """Wait a moment for a snapshot, and handle what is due."""
        try:
            delivery = self._deliveries.get(timeout=_IDLE if self._pending is None else _POLL)
        except queue.Empty:
            delivery = None
        try:
            if delivery is not None:
                self._receive(delivery)
            if self._pending is not None and self._is_listed(self._pending):
                pending, self._pending = self._pending, None
                self._compare(pending)
            if time.monotonic() >= self._next_age_check:
                self._next_age_check = time.monotonic() + self._age_checks
                self._check_age()
        except STORE_ERRORS as error:
            self._run.lose_store(error)
            self._state = self._run.state
            self._run.stop.wait(_STORE_RETRY)
        except BrokerError as error:
            self._log.warning("broker_away", error=type(error).__name__)
        self._run.state = self._state

    def _receive(self, delivery: Delivery) -> None:
        self._link.ack([delivery])
        snapshot = self._intake.add(delivery)
        if snapshot is not None:
            self._pending = snapshot
            self._compare_at = time.monotonic() + self._settings.slurm.snapshot_interval / 2

    def _is_listed(self, snapshot: Snapshot) -> bool:
        """Whether all clouds have been listed since the snapshot, or their time is over."""
        with reading(self._run.store) as connection:
            listed = snapshots.listed_generations(connection, self._settings.cluster)
        complete = all(
            listed.get(cloud, 0) >= snapshot.generation for cloud in self._settings.clouds
        )
        return complete or time.monotonic() >= self._compare_at

    def _compare(self, snapshot: Snapshot) -> None:
        cluster, now = self._settings.cluster, time.time_ns()
        with reading(self._run.store) as connection:
            seen = survey(connection, self._settings, snapshot)
            known = drift_memory.recall(connection, cluster)
        found = plan(seen, known, self._settings.resync, now)
        wanted = needing_repair(found)
        origin = socket.gethostname() or "unknown"
        commands = repair_requests(wanted, snapshot, self._settings.slurm, origin, "resync")
        outgoing.publish_all(self._link, map(outgoing.command, commands), _CONFIRM)
        self._report(seen, found)
        repaired = [*wanted, *strays_to_delete(found), *to_notify_once(found)]
        with self._run.store.begin() as connection:
            memories = next_memories(seen, known, found, repaired, now)
            drift_memory.remember(connection, cluster, memories)

    def _report(self, seen: Survey, found: Sequence[FoundDrift]) -> None:
        cluster, generation = self._settings.cluster, seen.snapshot.generation
        for one in found:
            if one.new or one.action.step in _REPAIRS:
                self._log.warning(
                    "drift",
                    node=one.subject,
                    drift=str(one.action.drift),
                    step=str(one.action.step),
                    generation=generation,
                    seen=one.words,
                )
        for cloud in seen.unseen:
            self._log.warning("cloud_not_listed", cloud=cloud, remedy="its nodes are not repaired")
        doubted = [cloud for cloud in seen.doubted if cloud not in self._doubted]
        self._doubted = seen.doubted
        self._notify(
            [
                *notices.drifts(cluster, _needing_notice(found)),
                *(notices.doubt(cluster, cloud, generation) for cloud in doubted),
            ]
        )
        self._state = _summary(seen, found)

    def _check_age(self) -> None:
        """Notify once if the newest snapshot is too old: nothing is repaired then."""
        with reading(self._run.store) as connection:
            newest = snapshots.snapshot_age(connection, self._settings.cluster)
        if newest is not None and newest.is_fresh(self._settings.stale_after):
            self._notified_stale = None
            return
        text = f"no snapshot for {newest.age:.0f} s" if newest else "no snapshot has been received"
        if newest and newest.age < 0:
            text = "the store's clock was set back, and no snapshot has been received since"
        generation = newest.generation if newest else 0
        early = newest is None and time.monotonic() - self._started < self._settings.stale_after
        state = f"{text}: nothing is repaired"
        self._state = state if early else problem(state)
        if self._notified_stale == generation or early:
            return
        self._log.error("no_snapshot", message=text, remedy=notices.NO_SNAPSHOT)
        self._notify([notices.no_snapshot(self._settings.cluster, generation, text)])
        self._notified_stale = generation

    def _notify(self, events: Sequence[Notice]) -> None:
        outgoing.publish_all(self._link, map(outgoing.event, events), _CONFIRM)


def _needing_notice(found: Sequence[FoundDrift]) -> list[FoundDrift]:
    """What to notify operators of: once if they must act, and before a server is deleted."""
    once = {one.subject for one in to_notify_once(found)}
    once |= {one.subject for one in strays_to_delete(found) if not one.memory.repairs}
    # operators can do nothing about a deletion before it is known to hang
    new = (one for one in found if one.new and one.action.drift is not Drift.STUCK)
    steps = (RepairStep.REPORT, RepairStep.HELD)
    told = once | {one.subject for one in new if one.action.step in steps}
    return [one for one in found if one.subject in told]


def _summary(seen: Survey, found: Sequence[FoundDrift]) -> str:
    parts = [f"{len(seen.nodes)} nodes compared, {len(found)} drifted"]
    if wanted := needing_repair(found):
        parts.append(f"{len(wanted)} repairs requested")
    if seen.unseen:
        parts.append(f"not listed: {', '.join(seen.unseen)}")
    if seen.doubted:
        parts.append(f"doubted: {', '.join(seen.doubted)}")
    return "; ".join(parts)
