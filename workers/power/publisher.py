"""What the power worker answers: events, retries, parkings and dead letters, logged and counted."""

import time

import structlog

from schemas.errors import MalformedMessageError
from schemas.events import Cause, Transition
from workers.broker import outgoing
from workers.broker.delivery import Delivery
from workers.power import intake, messages
from workers.power.intake import Pending
from workers.power.metrics import PowerMetrics
from workers.power.outbox import Outbox


class Publisher:
    """Answers requests; each answer is acknowledged once the broker has confirmed it.

    Args:
        outbox: publishes and acknowledges.
        cluster: the cluster's name.
        metrics: count what happens.
    """

    def __init__(self, outbox: Outbox, cluster: str, metrics: PowerMetrics) -> None:
        self._outbox = outbox
        self._cluster = cluster
        self._metrics = metrics
        self._log = structlog.get_logger()

    def accepted(self, request: Pending, now: int) -> None:
        """Report the acceptance, once a round: what comes back from a tier was accepted before."""
        if request.history.attempt == 0 and request.history.parked == 0:
            self._metrics.accepted(request.command.kind)
            self._outbox.send(request.delivery, [messages.accepted(request, now)])

    def taken(self, request: Pending) -> None:
        """Log that a request is being worked on; at INFO once, not after each rest."""
        log = _log(request)
        (log.debug if request.history.parked else log.info)("request_accepted")

    def retried(self, request: Pending, cause: Cause) -> str:
        """Send a request to its next retry tier with one more failed attempt; the tier."""
        _log(request).warning("request_retried", cause=cause.error)
        self._metrics.retried(cause)
        tier, sent = messages.retried(request, cause, time.time_ns())
        self._outbox.finish(request.delivery, sent)
        return tier

    def parked(self, request: Pending, cause: Cause, tier: str) -> None:
        """Let a request rest, its attempts unchanged; logged at INFO the first time."""
        log = _log(request)
        (log.debug if request.history.parked else log.info)(
            "request_parked", cause=cause.error, tier=tier
        )
        self._metrics.parked(cause)
        sent = messages.parked(request, cause, tier, time.time_ns())
        self._outbox.finish(request.delivery, sent)

    def ended(self, request: Pending, body: bytes) -> None:
        """Publish the outcome that the store holds, and the dead letter of a failure."""
        event, message = outgoing.stored(body)
        sent = [message]
        failed = event.transition is Transition.FAILED
        if failed and event.cause is not None:
            history = request.history.failed(event.cause, event.time)
            letter = messages.dead_letter(request.delivery, history, event.cause, event.time)
            sent.insert(0, letter)
        self._metrics.ended(event)
        log = _log(request)
        (log.error if failed else log.info)(
            "request_ended",
            outcome=str(event.transition),
            cause=event.cause and event.cause.error,
        )
        self._outbox.finish(request.delivery, sent)

    def refused(self, request: Pending, cause: Cause, now: int) -> None:
        """Raise the alarm about a request that cannot even be tried."""
        self._outbox.tell(outgoing.event(messages.refused(request, cause, now)))

    def rejected(self, delivery: Delivery, error: MalformedMessageError) -> None:
        """Dead-letter a message that cannot be read."""
        now = time.time_ns()
        self._log.error("message_rejected", queue=delivery.queue, field=error.field)
        history = intake.history_from(delivery.headers)
        cause = Cause("malformed", str(error))
        letter = messages.dead_letter(delivery, history, cause, now)
        notice = messages.rejected(delivery, self._cluster, error, now)
        self._outbox.finish(delivery, [letter, outgoing.event(notice)])


def _log(request: Pending) -> structlog.typing.FilteringBoundLogger:
    command = request.command
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log.bind(
        node=command.node,
        kind=str(command.kind),
        generation=command.generation,
        correlation_id=command.correlation_id,
        request_id=request.id,
        round=request.history.round,
        attempt=request.history.attempt,
    )
