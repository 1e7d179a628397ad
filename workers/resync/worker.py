"""The resync worker: keeps the newest snapshot, compares, asks for repairs, and says what it cannot see."""

import queue
import socket
import time
from collections.abc import Sequence

import structlog

from schemas.errors import MalformedMessageError
from schemas.events import Notice
from schemas.snapshot import Snapshot, joined, parse_snapshot
from workers.broker import outgoing
from workers.broker.link import Delivery, Link
from workers.errors import BrokerError
from workers.process.runtime import Runtime
from workers.resync import drift_memory, notices
from workers.resync.drift import RepairStep
from workers.resync.plan import (
    Found,
    asked_for,
    condemned,
    patience_of,
    plan,
    remembered,
    requests,
)
from workers.resync.survey import Survey, survey
from workers.store import snapshots
from workers.store.database import AWAY, reading

_IDLE = 0.2
_CONFIRM = 30.0
_LOOK = 1.0
_NS = 1_000_000_000


class ResyncWorker:
    """One snapshot after the other.

    A snapshot is compared once every cloud has been listed for it, or has had its time to be. What
    is lost (a part, the store for a while) costs one snapshot: the next one comes.

    Args:
        run: the process.
        link: gives snapshots (to `deliver`), takes requests and notices.
    """

    def __init__(self, run: Runtime, link: Link) -> None:
        self._run = run
        self._link = link
        self._settings = run.settings
        self._patience = patience_of(self._settings.resync)
        self._waiting: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._parts: list[Snapshot] = []
        self._pending: Snapshot | None = None
        self._patient_until = 0.0
        self._began = time.monotonic()
        self._next_look = 0.0
        self._blind_since: int | None = None
        self._doubted: tuple[str, ...] = ()
        self._said = "no snapshot has come yet: nothing is repaired"
        self._log = structlog.get_logger()

    # -- called by the link's thread

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery in."""
        self._waiting.put(delivery)

    # -- the loop

    def turn(self) -> None:
        """Wait a moment for a snapshot, and see to what is due."""
        try:
            delivery = self._waiting.get(timeout=_IDLE)
        except queue.Empty:
            delivery = None
        try:
            if delivery is not None:
                self._receive(delivery)
            if self._pending is not None and self._is_listed(self._pending):
                pending, self._pending = self._pending, None
                self._compare(pending)
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + _LOOK
                self._look_for_age()
        except AWAY as error:
            self._said = "waits for the store: nothing is repaired"
            self._log.warning("store_away", error=type(error).__name__)
        except BrokerError as error:
            self._log.warning("broker_away", error=type(error).__name__)
        self._run.state = self._said if self._link.is_up else "waits for the broker"

    def _receive(self, delivery: Delivery) -> None:
        self._link.ack([delivery])
        try:
            part = parse_snapshot(delivery.body)
        except MalformedMessageError as error:
            self._log.error("message_rejected", queue=delivery.queue, field=error.field)
            return
        age = (time.time_ns() - part.generation) / _NS
        # what lay in the queue for long says no more how Slurm sees it now
        fresh = -self._settings.power.clock_ahead <= age <= self._settings.stale_after
        if part.cluster != self._settings.cluster or not fresh:
            self._log.error("snapshot_refused", cluster=part.cluster, age=round(age, 1))
            return
        if self._parts and part.generation < self._parts[0].generation:
            return
        alike = part.correlation_id
        self._parts = [p for p in self._parts if p.correlation_id == alike] + [part]
        whole = joined(self._parts)
        if whole is None:
            return
        with self._run.store.begin() as connection:
            kept = snapshots.keep_snapshot(connection, whole)
        if kept:
            self._pending = whole
            half = self._settings.slurm.snapshot_interval / 2
            self._patient_until = time.monotonic() + half

    def _is_listed(self, snapshot: Snapshot) -> bool:
        """Whether every cloud was listed since, or has had its time."""
        with reading(self._run.store) as connection:
            listed = snapshots.listed_for(connection, self._settings.cluster)
        everywhere = all(
            listed.get(cloud, 0) >= snapshot.generation for cloud in self._settings.clouds
        )
        return everywhere or time.monotonic() >= self._patient_until

    def _compare(self, snapshot: Snapshot) -> None:
        cluster, now = self._settings.cluster, time.time_ns()
        with reading(self._run.store) as connection:
            seen = survey(connection, self._settings, snapshot)
            known = drift_memory.recall(connection, cluster)
        found = plan(seen, known, self._patience, now)
        wanted = asked_for(found)
        self._ask(wanted, snapshot)
        self._tell(seen, found)
        with self._run.store.begin() as connection:
            asked = [*wanted, *condemned(found)]
            drift_memory.remember(connection, cluster, remembered(seen, known, found, asked, now))

    def _ask(self, wanted: Sequence[Found], snapshot: Snapshot) -> None:
        origin = socket.gethostname() or "unknown"
        asked = requests(wanted, snapshot, self._settings.slurm, origin, "resync")
        outgoing.publish_all(self._link, map(outgoing.command, asked), _CONFIRM)

    def _notify(self, told: Sequence[Notice]) -> None:
        outgoing.publish_all(self._link, map(outgoing.event, told), _CONFIRM)

    # -- what is said

    def _tell(self, seen: Survey, found: Sequence[Found]) -> None:
        cluster, generation = self._settings.cluster, seen.snapshot.generation
        for one in found:
            if one.new or one.action.step in {
                RepairStep.RESUME,
                RepairStep.SUSPEND,
                RepairStep.DELETE,
            }:
                self._log.warning(
                    "drift",
                    node=one.subject,
                    drift=str(one.action.drift),
                    step=str(one.action.step),
                    generation=generation,
                    seen=one.words,
                )
        told = notices.drifts(cluster, [one for one in found if _is_told(one)])
        told += [
            notices.doubt(cluster, cloud, generation)
            for cloud in seen.doubted
            if cloud not in self._doubted
        ]
        for cloud in seen.unseen:
            self._log.warning("cloud_not_listed", cloud=cloud, remedy="its nodes are left alone")
        self._doubted = seen.doubted
        self._notify(told)
        self._said = _summary(seen, found)

    def _look_for_age(self) -> None:
        """Without a fresh snapshot nothing is repaired; say so once."""
        with reading(self._run.store) as connection:
            newest = snapshots.received(connection, self._settings.cluster)
        if newest is not None and newest.age <= self._settings.stale_after:
            self._blind_since = None
            return
        said = f"no snapshot for {newest.age:.0f} s" if newest else "no snapshot has come yet"
        self._said = f"{said}: nothing is repaired"
        generation = newest.generation if newest else 0
        early = time.monotonic() - self._began < self._settings.stale_after
        if self._blind_since == generation or (newest is None and early):
            return
        self._log.error("no_snapshot", said=said, remedy=notices.NO_SNAPSHOT)
        self._notify([notices.blind(self._settings.cluster, generation, said)])
        self._blind_since = generation


def _is_told(found: Found) -> bool:
    """Whether people hear of it: once where they must see to it, and before a server is deleted."""
    if found.action.step is RepairStep.DELETE:
        return not found.memory.repairs
    return found.new and found.action.step in {RepairStep.REPORT, RepairStep.HELD}


def _summary(seen: Survey, found: Sequence[Found]) -> str:
    said = [f"{len(seen.places)} nodes compared, {len(found)} differ"]
    if asked := asked_for(found):
        said.append(f"{len(asked)} repairs asked for")
    if seen.unseen:
        said.append(f"not listed: {', '.join(seen.unseen)}")
    if seen.doubted:
        said.append(f"doubted: {', '.join(seen.doubted)}")
    return "; ".join(said)
