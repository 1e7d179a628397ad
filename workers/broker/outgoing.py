"""Events and commands as messages, and publishing with confirms, also on behalf of deliveries."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from producers.message import Message
from schemas.commands import PowerCommand
from schemas.envelope import parse
from schemas.events import RequestEvent, event_from
from schemas.jobs import JobEvent
from schemas.notices import Notice
from schemas.registrations import Registration
from workers.broker import topology
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.errors import BrokerAwayError, BrokerError, RefusedError, UnroutableError

K = TypeVar("K")
_RESEND = 1.0


def event(
    published: RequestEvent | JobEvent | Notice | Registration, body: bytes | None = None
) -> Message:
    """An event, for exchange power.events; `body` where it was written before."""
    routing_key = published.routing_key
    body = body or published.to_envelope().to_json()
    return Message(topology.EVENTS, routing_key, body, published.id)


def stored(body: bytes) -> tuple[RequestEvent, Message]:
    """A stored event, read and as a message; the audit ignores a second copy."""
    read = event_from(parse(body))
    return read, event(read, body)


def command(request: PowerCommand) -> Message:
    """A command for the power worker, for exchange power.commands."""
    body = request.to_envelope().to_json()
    return Message(topology.COMMANDS, request.kind.routing_key, body, request.id)


def publish_all(link: Link, messages: Iterable[Message], seconds: float) -> None:
    """Publish all at once, and wait for the confirms, `seconds` in total.

    Raises:
        BrokerError: the broker refused a message, is away, or has not confirmed all in time.
    """
    for error in publish_each(link, {None: list(messages)}, seconds).values():
        raise error


def publish_each(
    link: Link, messages: Mapping[K, Sequence[Message]], seconds: float
) -> dict[K, BrokerError]:
    """Publish all at once, and wait for the confirms, `seconds` in total.

    Returns:
        The keys with a message that was refused or reached no queue, and the error.

    Raises:
        BrokerAwayError: the connection ended, or the broker has not confirmed all in time.
    """
    published = [(key, link.publish(message)) for key, many in messages.items() for message in many]
    until = time.monotonic() + seconds
    refused: dict[K, BrokerError] = {}
    for key, future in published:
        try:
            future.result(max(0.0, until - time.monotonic()))
        except (RefusedError, UnroutableError) as error:
            refused[key] = error
        except TimeoutError:
            raise BrokerAwayError(f"no confirm within {seconds:g} s") from None
    return refused


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The broker has answered a publish, or the connection has gone.

    Attributes:
        key: connection and tag of the delivery that it was for; None for an alarm.
    """

    key: tuple[int, int] | None
    message: Message
    result: Future[None]


@dataclass(slots=True)
class _Unsettled:
    delivery: Delivery
    unconfirmed: int = 0
    finished: bool = False


@dataclass(slots=True)
class Outbox:
    """Publishes on behalf of deliveries, and acknowledges each when all its messages are safe.

    A refused message is sent again until the broker takes it; meanwhile its delivery stays ours.
    When the connection goes, what was sent on behalf of its deliveries is dropped: they come again.
    `post` hands an event to its owner, who answers with `confirmed` on a thread of its own.
    """

    link: Link
    post: Callable[[Confirmed], None]
    _entries: dict[tuple[int, int], _Unsettled] = field(default_factory=dict)
    _again: list[tuple[float, tuple[int, int] | None, Message]] = field(default_factory=list)

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
        structlog.get_logger().warning(
            "publish_refused", exchange=event.message.exchange, error=str(error)
        )
        self._again.append((time.monotonic() + _RESEND, key, event.message))

    def _publish(self, key: tuple[int, int] | None, message: Message) -> None:
        future = self.link.publish(message)
        future.add_done_callback(lambda done: self.post(Confirmed(key, message, done)))

    def _acknowledge(self, key: tuple[int, int]) -> None:
        entry = self._entries[key]
        if entry.finished and entry.unconfirmed == 0:
            del self._entries[key]
            self.link.ack([entry.delivery])
