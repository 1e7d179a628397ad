"""What must be confirmed before a delivery may be acknowledged."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from producers.message import Message
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.errors import BrokerAwayError
from workers.power.events import Confirmed

_RESEND = 1.0


@dataclass(slots=True)
class _Unsettled:
    delivery: Delivery
    unconfirmed: int = 0
    finished: bool = False


class Outbox:
    """Publishes on behalf of deliveries, and acknowledges each when all its messages are safe.

    A refused message is sent again until the broker takes it; meanwhile its delivery stays ours.
    When the connection goes, what was sent on behalf of its deliveries is dropped: they come again.

    Args:
        link: publishes and acknowledges.
        post: hands an event to the engine, which answers with `confirmed` on its own thread.
    """

    def __init__(self, link: Link, post: Callable[[Confirmed], None]) -> None:
        self._link = link
        self._post = post
        self._entries: dict[tuple[int, int], _Unsettled] = {}
        self._again: list[tuple[float, tuple[int, int] | None, Message]] = []
        self._log = structlog.get_logger()

    def send(self, delivery: Delivery, messages: Sequence[Message]) -> None:
        """Publish on behalf of a delivery that goes on."""
        key = delivery.connection, delivery.tag
        entry = self._entries.setdefault(key, _Unsettled(delivery))
        entry.unconfirmed += len(messages)
        for message in messages:
            self._publish(key, message)

    def finish(self, delivery: Delivery, messages: Sequence[Message]) -> None:
        """Publish what ends a delivery, then acknowledge it."""
        self.send(delivery, messages)
        key = delivery.connection, delivery.tag
        self._entries[key].finished = True
        self._acknowledge(key)

    def tell(self, message: Message) -> None:
        """Publish what belongs to no delivery: an alarm."""
        self._publish(None, message)

    def forget_before(self, connection: int) -> None:
        """Drop everything that came over earlier connections."""
        self._entries = {key: e for key, e in self._entries.items() if key[0] >= connection}

    def resend(self) -> None:
        """Send again what was refused, once its time has come."""
        if not self._again:
            return
        now = time.monotonic()
        due = [entry for entry in self._again if entry[0] <= now]
        self._again = [entry for entry in self._again if entry[0] > now]
        for _, key, message in due:
            if key is None or key in self._entries:
                self._publish(key, message)

    def confirmed(self, event: Confirmed) -> None:
        """Take the broker's answer to a publish."""
        key, error = event.key, event.result.exception()
        if key is not None and key not in self._entries:
            return
        if error is None:
            if key is not None:
                self._entries[key].unconfirmed -= 1
                self._acknowledge(key)
            return
        if isinstance(error, BrokerAwayError) and key is not None:
            # its delivery comes again, and then so does this message
            del self._entries[key]
            return
        self._log.warning("publish_refused", exchange=event.message.exchange, error=str(error))
        self._again.append((time.monotonic() + _RESEND, key, event.message))

    def _publish(self, key: tuple[int, int] | None, message: Message) -> None:
        future = self._link.publish(message)
        future.add_done_callback(lambda done: self._post(Confirmed(key, message, done)))

    def _acknowledge(self, key: tuple[int, int]) -> None:
        entry = self._entries[key]
        if entry.finished and entry.unconfirmed == 0:
            del self._entries[key]
            self._link.ack([entry.delivery])
