"""One receiver: a thread that tries what is due for it, and holds up nobody else."""

import threading
import time

import structlog

from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from workers.broker.link import Link
from workers.config.webhooks import Webhook
from workers.notify import dead_letters, notifications
from workers.notify.http import Post
from workers.notify.notifications import Notification
from workers.notify.verdict import Again, Dead, Taken, Verdict, backoff, judge
from workers.notify.webhook_request import request
from workers.process.runtime import Runtime
from workers.store.database import AWAY

_NS = 1_000_000_000
_IDLE = 1.0
_GRACE = 5.0
_STORE_RETRY = 1.0
# As after so many failures in a row: about a minute, so that one that is back is soon found.
_LONGEST_REST = 7


class Receiver:
    """See the module.

    A try that a kill cut short is due again when its claim ends: delivered at least once.

    Args:
        run: the process.
        link: publishes dead letters.
        webhook: whom it serves.
    """

    def __init__(self, run: Runtime, link: Link, webhook: Webhook) -> None:
        self._run = run
        self._link = link
        self._webhook = webhook
        self._cluster = run.settings.cluster
        self._post = Post(webhook)
        self._news = threading.Event()
        self._in_a_row = 0
        self._asked = 0.0
        self._log = structlog.get_logger().bind(webhook=webhook.name)
        self._thread = threading.Thread(target=self._serve, name=webhook.name, daemon=True)

    @property
    def troubled(self) -> bool:
        """Whether its last try has failed."""
        return self._in_a_row > 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for its end; what it was trying then is tried again when its claim ends."""
        self._news.set()
        self._thread.join(seconds)

    def wake(self) -> None:
        """There may be something to do."""
        self._news.set()

    def _serve(self) -> None:
        try:
            self._loop()
        except BaseException:
            # without its thread a receiver would never be told again: the worker starts anew
            self._run.stop.set()
            raise
        finally:
            self._post.close()

    def _loop(self) -> None:
        while not self._run.stop.is_set():
            try:
                busy = self._turn()
            except AWAY as error:
                self._log.warning("store_away", error=type(error).__name__)
                self._run.stop.wait(_STORE_RETRY)
                continue
            if busy and self._in_a_row:
                # all that is due rests together: a sick receiver is not hammered event by event
                self._run.stop.wait(max(self._asked, backoff(min(self._in_a_row, _LONGEST_REST))))
            elif not busy:
                self._news.wait(_IDLE)
                self._news.clear()

    def _turn(self) -> bool:
        """Try what has been due longest; whether there was any."""
        now = time.time_ns()
        # connecting takes so long at most, and so does waiting for the answer
        until = now + int((2 * self._webhook.timeout + _GRACE) * _NS)
        with self._run.store.begin() as connection:
            which = notifications.claim(connection, self._cluster, self._webhook.name, now, until)
        if which is None:
            return False
        verdict = self._try(which)
        if isinstance(verdict, Again):
            self._in_a_row, self._asked = self._in_a_row + 1, verdict.asked
        else:
            self._in_a_row, self._asked = 0, 0.0
        self._settle(which, verdict)
        return True

    def _try(self, which: Notification) -> Verdict:
        try:
            sent = request(self._webhook, parse(which.body), which.body)
        except MalformedMessageError as error:  # its format has been changed since
            return Dead(Cause("not_understood", str(error)))
        answer = self._post.send(sent, which.event_id)
        now = time.time_ns()
        left = self._webhook.give_up_after - (now - which.taken_at) / _NS
        opus = self._webhook.format == "opus"
        return judge(answer, attempt=which.attempt, left=left, opus=opus)

    def _settle(self, which: Notification, verdict: Verdict) -> None:
        log = self._log.bind(event_id=which.event_id, attempt=which.attempt)
        now = time.time_ns()
        if isinstance(verdict, Again):
            log.warning("notification_retried", cause=verdict.cause.error, again=verdict.seconds)
            errors = which.failed(verdict.cause, now)
            with self._run.store.begin() as connection:
                due_at = now + int(verdict.seconds * _NS)
                notifications.try_again(connection, self._cluster, which, errors, due_at)
            return
        if isinstance(verdict, Taken):
            log.info("notification_taken", answer=verdict.words or None)
        elif not dead_letters.bury(self._link, which, verdict.cause):
            return
        with self._run.store.begin() as connection:
            notifications.done(connection, self._cluster, which, now)
