"""What the power worker answers: published, and acknowledged once the broker has confirmed it."""

import time
from collections import deque
from dataclasses import dataclass, field

import structlog
from structlog.typing import FilteringBoundLogger

from schemas.commands import Kind
from schemas.errors import MalformedMessageError
from schemas.events import Cause, RequestEvent, Transition
from workers.broker import outgoing
from workers.broker.delivery import Delivery, history_from
from workers.broker.outgoing import Outbox
from workers.power import messages
from workers.power.intake import Pending
from workers.power.metrics import PowerMetrics
from workers.slurm.causes import BUSY
from workers.store.requests import RoundKey

_MOST_TOLD = 20_000


@dataclass(frozen=True, slots=True)
class Publisher:
    """Answers requests: events, retries, parkings and dead letters, logged and counted."""

    outbox: Outbox
    cluster: str
    metrics: PowerMetrics
    _log: FilteringBoundLogger = field(default_factory=structlog.get_logger)
    # what was told of why requests wait, oldest first; what is forgotten is told again
    _told: dict[RoundKey, set[str]] = field(default_factory=dict)
    _alarms: deque[str] = field(default_factory=lambda: deque(maxlen=100))

    def accepted(self, request: Pending, now: int) -> None:
        """Report the acceptance, once a round: what comes back from a tier was accepted before."""
        if request.history.attempt == 0 and request.history.parked == 0:
            self.metrics.accepted.labels(request.command.kind).inc()
            self.outbox.send(request.delivery, [messages.accepted(request, now)])

    def taken(self, request: Pending) -> None:
        """Log that a request is being worked on; at INFO once, not after each rest."""
        log = self._log
        (log.debug if request.history.parked else log.info)("request_accepted", **_keys(request))

    def retried(self, request: Pending, cause: Cause) -> str:
        """Send a request to its next retry tier with one more failed attempt; the tier."""
        self._log.warning("request_retried", **_keys(request), cause=cause.error)
        self.metrics.attempts_failed.labels(cause.error).inc()
        tier, sent = messages.retried(request, cause, time.time_ns())
        self.outbox.finish(request.delivery, sent)
        return tier

    def parked(self, request: Pending, cause: Cause, tier: str) -> None:
        """Let a request rest, its attempts unchanged; logged at INFO the first time."""
        log = self._log
        (log.debug if request.history.parked else log.info)(
            "request_parked", **_keys(request), cause=cause.error, tier=tier
        )
        self.metrics.parked.labels(cause.error).inc()
        causes = self._told.setdefault(request.key, set())
        told = request.history.parked > 0 and cause.error in BUSY | causes
        causes.add(cause.error)
        if len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        sent = messages.parked(request, cause, tier, time.time_ns(), told=told)
        self.outbox.finish(request.delivery, sent)

    def ended(self, request: Pending, body: bytes, event: RequestEvent | None = None) -> None:
        """Publish the outcome that the store holds, and the dead letter of a failure.

        `body` is the outcome as stored; `event` is the same, if it was read before.
        """
        event, message = (event, outgoing.event(event, body)) if event else outgoing.stored(body)
        sent = [message]
        failed = event.transition is Transition.FAILED
        cause = event.error or None
        if failed and event.cause is not None:
            history = request.history.failed(event.cause, event.time)
            letter = messages.dead_letter(request.delivery, history, event.cause, event.time)
            sent.insert(0, letter)
        self._told.pop(request.key, None)
        self.metrics.ended.labels(event.kind, event.transition).inc()
        if failed and event.kind is Kind.RESUME:
            self.metrics.boots_failed.labels(event.cloud or "none", cause or "unknown").inc()
        (self._log.error if failed else self._log.info)(
            "request_ended", **_keys(request), outcome=str(event.transition), cause=cause
        )
        self.outbox.finish(request.delivery, sent)

    def refused(self, request: Pending, cause: Cause, now: int) -> None:
        """Raise the alarm about a request that cannot even be tried; the same alarm only once."""
        alarm = messages.refused(request, cause, now)
        if alarm.id not in self._alarms:
            self._alarms.append(alarm.id)
            self.outbox.tell(outgoing.event(alarm))

    def rejected(self, delivery: Delivery, error: MalformedMessageError) -> None:
        """Dead-letter a message that cannot be read."""
        now = time.time_ns()
        self._log.error("message_rejected", queue=delivery.queue, field=error.field)
        history = history_from(delivery.headers)
        cause = Cause("malformed", str(error))
        letter = messages.dead_letter(delivery, history, cause, now)
        notice = messages.rejected(delivery, self.cluster, error, now)
        self.outbox.finish(delivery, [letter, outgoing.event(notice)])


def _keys(request: Pending) -> dict[str, str | int]:
    """A request as its log lines name it."""
    command = request.command
    return {
        "node": command.node,
        "kind": str(command.kind),
        "generation": command.generation,
        "correlation_id": command.correlation_id,
        "request_id": request.id,
        "round": request.history.round,
        "attempt": request.history.attempt,
    }
