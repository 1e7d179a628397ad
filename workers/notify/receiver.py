"""One thread for each webhook, which sends what is due, so that webhooks do not delay each other."""

import threading
import time

import structlog

from schemas.envelope import parse
from schemas.events import Cause
from workers.broker.link import Link
from workers.config.webhooks import Webhook
from workers.notify import dead_letters, notifications
from workers.notify.http import WebhookClient
from workers.notify.notifications import Notification
from workers.notify.opus import current_phase, news, opus_job, question
from workers.notify.verdict import (
    UNREACHABLE,
    Delivered,
    Response,
    RetryLater,
    Undeliverable,
    Verdict,
    backoff,
    judge,
)
from workers.notify.webhook_request import cloudevent
from workers.process.runtime import Runtime
from workers.store.database import STORE_ERRORS

_NS = 1_000_000_000
_IDLE = 1.0
_GRACE = 5.0
_STORE_RETRY = 1.0
# Caps the backoff at about a minute, so that a webhook that works again is soon noticed.
_MAX_BACKOFF_STEPS = 7


class Receiver:
    """Sends notifications to one webhook, at least once each.

    An attempt that was cut short by a kill is due again when its claim expires. `link` publishes dead
    letters.
    """

    def __init__(self, run: Runtime, link: Link, webhook: Webhook) -> None:
        self._run = run
        self._link = link
        self._webhook = webhook
        self._cluster = run.settings.cluster
        self._client = WebhookClient(webhook)
        self._wakeup = threading.Event()
        self._failures = 0
        self._trouble = webhook.name
        self._retry_after = 0.0
        self._log = structlog.get_logger().bind(webhook=webhook.name)
        self.name = webhook.name
        self._thread = threading.Thread(target=self._serve, name=webhook.name, daemon=True)

    @property
    def trouble(self) -> str | None:
        """Its name, and why the last attempt got no response, for `status`; None if it went well."""
        return self._trouble if self._failures else None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end. An unfinished attempt is repeated when its claim expires."""
        self._wakeup.set()
        self._thread.join(seconds)

    def wake(self) -> None:
        """Check for due notifications now."""
        self._wakeup.set()

    def _serve(self) -> None:
        try:
            self._loop()
        except BaseException:
            # without this thread the webhook would get nothing more: let the worker restart
            self._run.stop.set()
            raise
        finally:
            self._client.close()

    def _loop(self) -> None:
        while not self._run.stop.is_set():
            try:
                busy = self._send_one()
            except STORE_ERRORS as error:
                self._run.lose_store(error)
                self._run.stop.wait(_STORE_RETRY)
                continue
            if busy and self._failures:
                # wait before the next notification too: do not flood a failing webhook
                steps = min(self._failures, _MAX_BACKOFF_STEPS)
                self._run.stop.wait(max(self._retry_after, backoff(steps)))
            elif not busy:
                self._wakeup.wait(_IDLE)
                self._wakeup.clear()

    def _send_one(self) -> bool:
        """Send the notification that has been due longest; whether there was one."""
        now = time.time_ns()
        # two requests at most; the timeout applies to connecting and to waiting for the response
        until = now + int((4 * self._webhook.timeout + _GRACE) * _NS)
        latest = now + int(self._webhook.give_up_after * _NS)
        with self._run.store.begin() as connection:
            due = notifications.claim(
                connection, self._cluster, self._webhook.name, now, until, max(until, latest)
            )
        if due is None:
            return False
        verdict = self._attempt(due)
        if isinstance(verdict, RetryLater):
            self._failures, self._retry_after = self._failures + 1, verdict.retry_after
            # what the webhook itself has said is not repeated
            ours = verdict.cause.error == UNREACHABLE
            self._trouble = f"{self.name}: {verdict.cause.message}" if ours else self.name
        else:
            self._failures, self._retry_after = 0, 0.0
        self._record(due, verdict)
        return True

    def _attempt(self, due: Notification) -> Verdict:
        # who may replay notifications must not be able to say anything to any webhook
        if not self._webhook.wants(type_ := parse(due.body).type):
            why = f"it does not subscribe to {type_}: add that to its events, or discard this"
            return Undeliverable(Cause("not_subscribed", why))
        if self._webhook.format == "opus":
            return self._tell_opus(due)
        return self._judge(due, self._client.send(cloudevent(due.body), due.event_id))

    def _tell_opus(self, due: Notification) -> Verdict:
        """Ask OPUS for the job's phase, unless it does not matter, then tell it what is new."""
        job = opus_job(parse(due.body))
        if job is None:  # the webhook's format was changed meanwhile
            return Undeliverable(Cause("not_understood", "OPUS gets events of its own jobs only"))
        phase, asked = None, question(job)
        if asked is not None:
            response = self._client.send(asked, f"{due.event_id}/phase")
            phase = current_phase(response)
            if phase is None:
                return self._judge(due, response)
        told = news(job, phase)
        if told is None:
            return Delivered(f"in phase {phase} already")
        return self._judge(due, self._client.send(told, due.event_id))

    def _judge(self, due: Notification, response: Response) -> Verdict:
        left = self._webhook.give_up_after - max(0, time.time_ns() - due.received_at) / _NS
        opus = self._webhook.format == "opus"
        return judge(response, attempt=due.attempt, left=left, opus=opus)

    def _record(self, due: Notification, verdict: Verdict) -> None:
        log = self._log.bind(event_id=due.event_id, attempt=due.attempt)
        now = time.time_ns()
        if isinstance(verdict, RetryLater):
            log.warning("notification_retried", cause=verdict.cause.error, seconds=verdict.seconds)
            errors, due_at = due.failed(verdict.cause, now), now + int(verdict.seconds * _NS)
            with self._run.store.begin() as connection:
                notifications.reschedule(connection, self._cluster, due, errors, due_at)
            return
        if isinstance(verdict, Delivered):
            log.info("notification_delivered", response=verdict.text or None)
        elif not dead_letters.publish(self._link, due, verdict.cause):
            return
        with self._run.store.begin() as connection:
            notifications.mark_done(connection, self._cluster, due, now)
