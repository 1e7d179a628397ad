"""Alarms about credentials: sent until the broker has confirmed them, once each."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import structlog

from producers.message import Message
from schemas.events import Notice
from workers import topology
from workers.amqp import Link
from workers.tokens.errors import SourceError
from workers.tokens.sources import Source

NAME = "alarm.token"


class Alarms:
    """Publishes notices on exchange power.events; what fails is sent again at the next tick."""

    def __init__(self, link: Link, cluster: str) -> None:
        self._link = link
        self._cluster = cluster
        self._lock = threading.Lock()
        self._unsent: list[Message] = []

    def of(self, cloud: str, source: Source) -> Callable[[SourceError], None]:
        """What raises the alarm about one cloud; one per kind of trouble and credential."""

        def alarm(error: SourceError) -> None:
            notice = Notice(
                name=NAME,
                cluster=self._cluster,
                subject=cloud,
                key=f"{error.error}/{source.fingerprint()}",
                time=time.time_ns(),
                message=f"no token for cloud {cloud}: {error.message}",
                remedy=error.remedy or "wait",
                details={"error": error.error, "permanent": str(error.permanent).lower()},
            )
            structlog.get_logger().error(
                "token_alarm", cloud=cloud, reason=notice.message, remedy=notice.remedy
            )
            body = notice.to_envelope().to_json()
            self._send(Message(topology.EVENTS, notice.routing_key, body, notice.id))

        return alarm

    def tick(self) -> None:
        """Send again what the broker has not confirmed."""
        with self._lock:
            unsent, self._unsent = self._unsent, []
        for message in unsent:
            self._send(message)

    def _send(self, message: Message) -> None:
        def settled(sent: Future[None]) -> None:
            if sent.exception() is not None:
                with self._lock:
                    self._unsent.append(message)

        self._link.publish(message).add_done_callback(settled)
