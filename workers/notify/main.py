"""`lamplighter worker notify`: moves events from the broker into the store; receivers send them."""

import time
from collections.abc import Iterable, Sequence

import structlog

from producers.settings import ConfigError
from schemas import headers
from schemas.envelope import Envelope
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from workers.broker import topology
from workers.broker.batches import Batches
from workers.broker.delivery import Delivery, history_from
from workers.config.settings import Settings
from workers.config.webhooks import Webhook
from workers.notify import dead_letters, notifications
from workers.notify.dead_letters import UNDELIVERED
from workers.notify.notifications import Notification
from workers.notify.opus import opus_job
from workers.notify.receiver import Receiver
from workers.process.runtime import Runtime, declare_topology, runtime
from workers.store.database import STORE_ERRORS, reading
from workers.store.heartbeats import problem

PREFETCH = 500
_BATCH = 200
_IDLE = 0.5
_STORE_RETRY = 1.0
_HOUSEKEEPING_EVERY = 5.0
_DELETE_EVERY = 3600.0
# Attempts under way may finish within this time; unfinished ones are repeated.
_SHUTDOWN_SECONDS = 5.0
_CLAIM_NS = 60 * 10**9
# No attempt was scheduled later than this: the clock was set back since.
_LATEST_NS = 86_400 * 10**9
# Longer than a killed worker or the spool may take to publish an event again.
_KEEP_DONE_NS = 7 * 24 * 3600 * 10**9


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: no webhook is configured.
        sqlalchemy.exc.OperationalError: the store is unavailable at the start.
    """
    if not settings.webhooks:
        problem = "no webhook is configured; see docs/opus.md"
        raise ConfigError(f"{settings.path}: notify.webhook: {problem}")
    with runtime("notify", settings) as run:
        declare_topology(run)
        Intake(run).run()
    return 0


class Intake:
    """Moves events from the queue into the store, then acknowledges them.

    Events that no webhook subscribes to are acknowledged and dropped.
    """

    def __init__(self, run: Runtime) -> None:
        self._run = run
        self._webhooks = run.settings.webhooks
        self._batches = Batches(_BATCH, 0.0)
        self._next_housekeeping = self._next_deletion = 0.0
        self._log = structlog.get_logger()
        self._link = run.open_link({topology.NOTIFY_QUEUE: PREFETCH}, self._batches.add)
        self._receivers = [Receiver(run, self._link, webhook) for webhook in self._webhooks]

    def run(self) -> None:
        """Run until the process is asked to stop."""
        self._link.start()
        for receiver in self._receivers:
            receiver.start()
        try:
            while self._run.stop.next_turn():
                self._store_batch(self._batches.next(_IDLE))
                self._housekeeping()
        finally:
            until = time.monotonic() + _SHUTDOWN_SECONDS
            for receiver in self._receivers:
                receiver.join(max(0.0, until - time.monotonic()))
            self._link.stop()

    def _store_batch(self, batch: Sequence[Delivery]) -> None:
        now = time.time_ns()
        cluster = self._run.settings.cluster
        new = [each for delivery in batch for each in self._parse(delivery, now)]
        while new:
            try:
                with self._run.store.begin() as connection:
                    notifications.add(connection, cluster, new)
                break
            except STORE_ERRORS as error:
                self._run.lose_store(error)
            if self._run.stop.wait(_STORE_RETRY):
                return
        self._link.ack(batch)
        for receiver in self._receivers if new else ():
            receiver.wake()

    def _parse(self, delivery: Delivery, now: int) -> Iterable[Notification]:
        try:
            event = delivery.envelope()
        except MalformedMessageError as error:
            # the audit quarantines it
            self._log.error("message_rejected", queue=delivery.queue, field=error.field)
            return []
        if event.source != self._run.settings.cluster:
            return []
        return notifications_for(delivery, event, self._webhooks, now)

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if now < self._next_housekeeping:
            return
        self._next_housekeeping = now + _HOUSEKEEPING_EVERY
        cluster = self._run.settings.cluster
        try:
            if now >= self._next_deletion:
                self._next_deletion = now + _DELETE_EVERY
                with self._run.store.begin() as connection:
                    notifications.delete_done(connection, cluster, time.time_ns() - _KEEP_DONE_NS)
            with reading(self._run.store) as connection:
                waiting = notifications.count_waiting(connection, cluster)
            for name in waiting.keys() - {webhook.name for webhook in self._webhooks}:
                self._dead_letter_one(name)
            self._run.state = self._describe(sum(waiting.values()))
        except STORE_ERRORS as error:
            self._run.lose_store(error)

    def _dead_letter_one(self, name: str) -> None:
        """Dead-letter one notification for a webhook that is no longer configured."""
        cluster, now = self._run.settings.cluster, time.time_ns()
        with self._run.store.begin() as connection:
            until, latest = now + _CLAIM_NS, now + _LATEST_NS
            found = notifications.claim(connection, cluster, name, now, until, latest)
        cause = Cause("no_webhook", "a webhook with this name is no longer configured")
        if found is not None and dead_letters.publish(self._link, found, cause):
            with self._run.store.begin() as connection:
                notifications.mark_done(connection, cluster, found, time.time_ns())

    def _describe(self, waiting: int) -> str:
        failing = [trouble for one in self._receivers if (trouble := one.trouble)]
        state = f"{waiting} notifications wait"
        return problem(f"{state}; away: {', '.join(failing)}") if failing else state


def notifications_for(
    delivery: Delivery, event: Envelope, webhooks: Iterable[Webhook], now: int
) -> list[Notification]:
    """The notifications for a delivery; a replayed one goes only to the webhook that failed. Pure."""
    only = delivery.headers.get(headers.WEBHOOK)
    if delivery.routing_key == topology.NOTIFY_AGAIN:
        # even if that webhook is no longer configured: it must not be lost
        if not isinstance(only, str) or not only.isprintable():
            return []
        again = history_from(delivery.headers).round
        return [Notification(only, event.id, again, delivery.body, now, now)]
    if delivery.routing_key == UNDELIVERED:
        return []
    return [
        Notification(webhook.name, event.id, 1, delivery.body, now, now)
        for webhook in webhooks
        if webhook.subscribes_to(delivery.routing_key)
        and (webhook.format != "opus" or opus_job(event) is not None)
    ]
