"""The audit worker's loop: reads every event from the broker, and acknowledges it once committed."""

import time
from collections.abc import Sequence

import sqlalchemy as sa
import structlog
from prometheus_client import Counter

from schemas.notices import Notice
from workers.audit.forgetting import forget_recorded
from workers.audit.head_publisher import HeadPublisher
from workers.audit.installation_metrics import InstallationMetrics
from workers.audit.log import Appended, append
from workers.audit.record import (
    QUARANTINED,
    REFUSED,
    Record,
    conflict_id,
    record_of,
    refused_record,
)
from workers.broker import outgoing, topology
from workers.broker.backoff import Backoff
from workers.broker.batches import Batches
from workers.broker.delivery import Delivery
from workers.broker.roles import AUDIT_CONFLICT
from workers.config.settings import Settings
from workers.process.runtime import Runtime, declare_topology, runtime
from workers.store.database import open_store, store_problem

PREFETCH = 1000
BATCH = 500
BATCH_SECONDS = 0.1
_IDLE_SECONDS = 0.5
_CONFLICT_REMEDY = (
    "compare the conflict record with the outcome: lamplighter audit show REQUEST; if two workers are"
    " not the reason, find out who holds the password of the user that sent it, and replace it"
)
_FORGET_SECONDS = 3600.0
_NS = 1_000_000_000
_COUNTERS = {
    "lamplighter_audit_events": "Events recorded in the log.",
    "lamplighter_audit_repeats": "Events that were already in the log.",
    "lamplighter_audit_conflicts": "Events that contradict a record in the log; must be 0.",
    "lamplighter_audit_quarantined": "Messages that could not be parsed, or were not allowed.",
}


def main(settings: Settings) -> int:
    """Run until SIGTERM; returns the exit code."""
    with runtime("audit", settings) as run:
        declare_topology(run)
        run.registry.register(InstallationMetrics(settings, run.store))
        engine = _open(run)
        if engine is not None:
            heads = HeadPublisher(run, engine)
            run.trouble = lambda: heads.trouble
            Consumer(run, engine, heads).run()
            engine.dispose()
    return 0


class Consumer:
    """Writes events in batches, each in one transaction, then acknowledges them.

    While the store is unavailable nothing is acknowledged: the prefetch limits what waits in
    memory, and everything else stays in the broker.
    """

    def __init__(self, run: Runtime, engine: sa.Engine, heads: HeadPublisher) -> None:
        self._run = run
        self._engine = engine
        self._heads = heads
        self._log = structlog.get_logger()
        self._batches = Batches(BATCH, BATCH_SECONDS)
        self._recorded = 0
        self._forgets_at = 0.0
        counters = (Counter(*each, registry=run.registry) for each in _COUNTERS.items())
        self._new, self._repeats, self._conflicts, self._quarantined = counters
        self._link = run.open_link(
            {topology.AUDIT_QUEUE: PREFETCH}, self._batches.add, self._batches.reset
        )

    def run(self) -> None:
        """Consume until the process is asked to stop."""
        self._link.start()
        try:
            while self._run.stop.next_turn():
                batch = self._batches.next(_IDLE_SECONDS)
                if not batch:
                    self._run.state = self._describe()
                elif self._write(batch):
                    self._link.ack(batch)
                self._heads.publish_if_due()
                self._forget_if_due()
        finally:
            self._link.stop()
            self._heads.publish()

    def _write(self, batch: Sequence[Delivery]) -> bool:
        """Whether the batch is committed; retries until the process is asked to stop."""
        now = time.time_ns()
        records = [_record_of(delivery, self._run.settings.cluster, now) for delivery in batch]
        backoff = Backoff()
        while True:
            try:
                self._report(append(self._engine, records), now)
            except sa.exc.SQLAlchemyError as error:
                self._run.lose_store(error, "audit_store_away")
            else:
                for record in records:
                    if record.type in {QUARANTINED, REFUSED}:
                        self._quarantined.inc()
                        self._log.warning("audit_quarantined", id=record.id, size=len(record.body))
                return True
            if self._run.stop.wait(backoff.next()):
                return False

    def _report(self, appended: Appended, now: int) -> None:
        self._recorded += appended.recorded
        self._new.inc(appended.recorded)
        self._repeats.inc(appended.folded)
        self._conflicts.inc(len(appended.conflicts))
        self._run.state = self._describe()
        for record in appended.conflicts:
            self._log.error(
                "audit_conflict",
                id=record.id,
                type=record.type,
                request_id=record.request_id,
                remedy=_CONFLICT_REMEDY,
            )
            self._link.publish(outgoing.event(_conflict(record, now)))

    def _forget_if_due(self) -> None:
        if time.monotonic() < self._forgets_at:
            return
        self._forgets_at = time.monotonic() + _FORGET_SECONDS
        settings = self._run.settings
        before = time.time_ns() - int(settings.power.keep_outcomes * _NS)
        try:
            count = forget_recorded(self._run.store, self._engine, settings.cluster, before)
        except sa.exc.SQLAlchemyError as error:
            self._log.warning("outcomes_not_forgotten", error=store_problem(error))
        else:
            if count:
                self._log.info("outcomes_forgotten", count=count)

    def _describe(self) -> str:
        return f"{self._recorded} events recorded"


def _record_of(delivery: Delivery, cluster: str, now: int) -> Record:
    if delivery.refusal is not None:
        return refused_record(delivery, cluster, now)
    return record_of(delivery.body, cluster, now, delivery.envelope, delivery.user_id)


def _conflict(record: Record, now: int) -> Notice:
    """The alarm about an event that contradicts the log."""
    return Notice(
        name=AUDIT_CONFLICT,
        cluster=record.source,
        subject=record.subject or "unknown",
        key=conflict_id(record),
        time=now,
        message=f"a recorded outcome is contradicted: {record.type}, from {record.sender or 'unknown'}",
        remedy=_CONFLICT_REMEDY,
        details={"id": record.id, "request_id": record.request_id or ""},
    )


def _open(run: Runtime) -> sa.Engine | None:
    """The audit store; waits until it is available. None if the process is asked to stop."""
    backoff = Backoff()
    while not run.stop.is_set():
        try:
            return open_store(run.settings.store.audit_url, "audit")
        except sa.exc.OperationalError as error:
            run.lose_store(error, "audit_store_away")
        run.stop.wait(backoff.next())
    return None
