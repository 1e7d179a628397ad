"""The loop of the slurm worker: receives the outcomes of boots, and reports them to slurmctld."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import structlog
import tenacity

from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, event_from
from workers.broker.batches import Batches
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.errors import BrokerError
from workers.process.runtime import Runtime
from workers.slurm.commands import SlurmAwayError
from workers.slurm.metrics import SlurmMetrics
from workers.slurm.node_updates import NodeUpdates
from workers.slurm.scontrol import Slurm
from workers.store.database import STORE_ERRORS
from workers.store.heartbeats import problem

# Seconds to wait for a batch, and while jobs of failed boots are followed; seconds between timers.
_IDLE = 0.5
_IDLE_WITH_JOBS = 0.25
_TIMERS = 1.0
# Seconds between searches for nodes whose return was lost.
_SEARCH = 30.0


class Feedback:
    """Handles batches of events: each is reported to Slurm, remembered, then acknowledged.

    A delivery whose jobs must still be started is acknowledged after that: after a crash, the next
    worker finds the node updated and the jobs waiting. While slurmctld or the store is unavailable,
    nothing is acknowledged.
    """

    def __init__(self, run: Runtime, slurm: Slurm, link: Link, batches: Batches) -> None:
        self._run = run
        self._link = link
        self._batches = batches
        self._metrics = SlurmMetrics(run.registry)
        self._updates = NodeUpdates(run, slurm, link, self._metrics)
        self._next_timers = self._next_search = 0.0
        self._recovered = False
        self._log = structlog.get_logger()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._may_retry),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10.0),
            sleep=run.stop.sleep,
            stop=lambda _state: run.stop.is_set(),
            retry_error_callback=lambda _state: None,
        )

    def turn(self) -> None:
        """Wait for events, and handle what is due; returns early when the process stops."""
        batch = self._batches.next(_IDLE_WITH_JOBS if self._updates.jobs else _IDLE)
        if batch:
            self._handle(batch)
        if self._updates.jobs:
            self._persist(self._updates.jobs.check)
        if not self._recovered:
            self._persist(self._recover)
        if time.monotonic() >= self._next_timers:
            self._persist(self._updates.on_due)
            self._next_timers = time.monotonic() + _TIMERS
        if time.monotonic() >= self._next_search:
            self._persist(self._updates.report_lost)
            self._next_search = time.monotonic() + _SEARCH
        self._run.state = f"{self._updates.failed} failed boots reported"

    def _recover(self) -> None:
        self._updates.recover()
        self._recovered = True

    def _handle(self, batch: Sequence[Delivery]) -> None:
        """Handle the events of each node one after the other: each may change the node in Slurm."""
        waves: list[list[tuple[Delivery, RequestEvent]]] = []
        counts: Counter[str] = Counter()
        for delivery in batch:
            event = self._read(delivery)
            if event is None:
                self._link.ack([delivery])
                continue
            if counts[event.node] == len(waves):
                waves.append([])
            waves[counts[event.node]].append((delivery, event))
            counts[event.node] += 1
        for wave in waves:
            self._persist(partial(self._updates.on_events, wave))

    def _read(self, delivery: Delivery) -> RequestEvent | None:
        """The event, or None if it is unreadable (the audit keeps it) or of another cluster."""
        try:
            event = event_from(delivery.envelope())
        except MalformedMessageError as error:
            self._log.error("message_rejected", queue=delivery.queue, field=error.field)
            return None
        return event if event.cluster == self._run.settings.cluster else None

    def _persist(self, step: Callable[[], None]) -> None:
        """Repeat a step until slurmctld and the store are available, or the process stops."""
        with suppress(BrokerError):
            self._retrying(self._unless_stopping, step)

    def _unless_stopping(self, step: Callable[[], None]) -> None:
        if not self._run.stop.is_set():
            step()

    def _may_retry(self, error: BaseException) -> bool:
        """Whether to repeat a step after this error; logs it."""
        if isinstance(error, SlurmAwayError):
            self._run.state = problem(f"waits for slurmctld: {error}")
            self._metrics.away.inc()
            self._log.warning("slurmctld_away", error=str(error))
        elif isinstance(error, BrokerError):
            self._log.warning("job_event_not_published", error=str(error))
            return self._link.is_up  # without a connection, the broker delivers the events again
        elif isinstance(error, STORE_ERRORS):
            self._run.lose_store(error)
        else:
            return False
        return True
