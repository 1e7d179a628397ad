"""Publishes alarms about credentials: once each, repeated until the broker confirms them."""

import threading
import time
from concurrent.futures import Future

import structlog

from producers.message import Message
from schemas.notices import Notice
from workers.broker import outgoing
from workers.broker.link import Link
from workers.tokens.errors import SourceError

NAME = "alarm.token"


class Alarms:
    """Publishes notices on exchange power.events; a failed one is sent again at the next tick."""

    def __init__(self, link: Link, cluster: str) -> None:
        self._link = link
        self._cluster = cluster
        self._lock = threading.Lock()
        self._unsent: list[Message] = []

    def alarm(self, cloud: str, key: str, error: SourceError) -> None:
        """Notify operators about a cloud's credential; alarms with the same key are one."""
        notice = Notice(
            name=NAME,
            cluster=self._cluster,
            subject=cloud,
            key=key,
            time=time.time_ns(),
            message=f"cloud {cloud}: {error.message}",
            remedy=error.remedy or "wait",
            details={"error": error.error, "permanent": str(error.permanent).lower()},
        )
        log = structlog.get_logger()
        log.error("token_alarm", cloud=cloud, reason=error.message, remedy=notice.remedy)
        self.send(outgoing.event(notice))

    def tick(self) -> None:
        """Send unconfirmed notices again."""
        with self._lock:
            unsent, self._unsent = self._unsent, []
        for message in unsent:
            self.send(message)

    def send(self, message: Message) -> None:
        """Send a notice until the broker confirms it."""

        def settled(sent: Future[None]) -> None:
            if sent.exception() is not None:
                with self._lock:
                    self._unsent.append(message)

        self._link.publish(message).add_done_callback(settled)
