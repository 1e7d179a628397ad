"""One connection of a link, from its start to its end: its consumers and its publishing channel."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from producers.message import Message
from workers.broker.consumers import Consumers
from workers.broker.delivery import Delivery
from workers.broker.depths import QueueDepth
from workers.broker.publishing import PublishingChannel
from workers.broker.topology import REPLY_TO
from workers.errors import BrokerAwayError, BrokerError, NoQuorumError, NotDeclaredError

NO_QUORUM = "it has no quorum: start the broker's other nodes"


def no_quorum(queues: str) -> NoQuorumError:
    """The error for queues of which the broker confirms no consumer."""
    return NoQuorumError(f"the broker does not answer for {queues}: {NO_QUORUM}")


class BrokerSession:
    """A channel that consumes, and one that publishes; used on the link's thread.

    If it has a queue for replies, one channel does both: the broker does not keep the order of two, and
    the queue must be there before the first request.

    `number` is the connection's within its link; `queues` are those to consume, each with its
    prefetch.

    Attributes:
        consumers: None until `consume`.
    """

    def __init__(self, number: int, queues: Mapping[str, int]) -> None:
        self.number = number
        self.consumers: Consumers | None = None
        self._blocked: str | None = None  # why the broker accepts no messages now
        self._queues = queues
        self._channel: Any = None
        self._on_lost: Callable[[BaseException], None] = lambda _error: None
        self._publishing: list[PublishingChannel] = []  # the last one is in use
        # handed over by other threads (under the link's lock), not yet published or answered
        self.pending: set[Future[Any]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the channel is open."""
        return self._channel is not None and bool(self._channel.is_open)

    @property
    def is_consuming(self) -> bool:
        """Whether the broker delivers all queues that the link wants."""
        return self.consumers is not None and self.consumers.all_consumed

    @property
    def failure(self) -> BrokerError | None:
        """Why the broker does not deliver a queue; None if it may still answer."""
        if self.consumers is None:
            return None
        if lost := self.consumers.lost:
            return NotDeclaredError(f"no queue {', '.join(lost)}")
        if silent := self.consumers.unanswered:
            return no_quorum(", ".join(silent))
        return None

    def problems(self) -> list[str]:
        """Why the broker accepts no messages now, and which queues it does not deliver."""
        lost, unanswered = (
            (self.consumers.lost, self.consumers.unanswered) if self.consumers else ([], [])
        )
        found = []
        if self._blocked is not None:
            found.append(f"the broker accepts no messages ({self._blocked}): free memory or disk")
        if lost:
            found.append(f"does not consume {', '.join(lost)}: run lamplighter topology apply")
        if unanswered:
            found.append(f"does not consume {', '.join(unanswered)}: {NO_QUORUM}")
        return found

    def watch(self, connection: Any) -> None:  # noqa: ANN401 - pika has no types
        """Remember while the broker accepts no messages."""
        connection.add_on_connection_blocked_callback(
            lambda _connection, frame: setattr(self, "_blocked", frame.method.reason)
        )
        connection.add_on_connection_unblocked_callback(
            lambda _connection, _frame: setattr(self, "_blocked", None)
        )

    def open(
        self,
        channel: Any,  # noqa: ANN401 - pika has no types
        on_ready: Callable[[], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        """Use this channel; call `on_ready` when confirms are on, `on_lost` when the broker closes one."""
        self._channel = channel
        self._on_lost = on_lost
        if REPLY_TO not in self._queues:
            channel.add_on_close_callback(lambda _channel, error: on_lost(error))
        self._open_publishing(on_ready)

    def _open_publishing(self, on_ready: Callable[[], None] = lambda: None) -> None:
        publishing = PublishingChannel(on_ready, self._on_lost)
        self._publishing.append(publishing)
        if REPLY_TO in self._queues:
            publishing.open(self._channel)
        else:
            self._channel.connection.channel(on_open_callback=publishing.open)

    def consume(self, on_delivery: Callable[[Delivery], None]) -> None:
        """Make the consumers of the queues; they wait for `want`."""
        self.consumers = Consumers(self._channel, self.number, self._queues, on_delivery)

    def close(self) -> None:
        """Settle all futures: the connection has ended."""
        for publishing in self._publishing:
            publishing.fail()
        for future in self.pending:
            future.set_exception(BrokerAwayError("the connection ended before the broker's answer"))
        self.pending.clear()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge the deliveries of this connection; ignores all others."""
        if not self.is_open:
            return
        for delivery in deliveries:
            if delivery.connection == self.number and delivery.queue != REPLY_TO:
                self._channel.basic_ack(delivery.tag)

    def count(self, queue: str, future: Future[QueueDepth]) -> None:
        """Ask for the counts of a queue; the answer settles the future, which is in `pending`."""

        def counted(frame: Any) -> None:  # noqa: ANN401 - pika has no types
            self.pending.discard(future)
            answer = frame.method
            future.set_result(QueueDepth(queue, answer.message_count, answer.consumer_count))

        if self.is_open and future in self.pending:
            self._channel.queue_declare(queue, passive=True, callback=counted)

    def publish(self, message: Message, user: str, future: Future[None]) -> None:
        """Publish a message of `pending`; the confirm settles the future."""
        if future not in self.pending:  # the connection has ended meanwhile
            return
        self.pending.discard(future)
        to_us = message.reply_to == REPLY_TO
        if not self.is_open or (to_us and self.consumers is None):
            future.set_exception(BrokerAwayError("not connected to the broker"))
            return
        if to_us and self.consumers is not None:
            message = replace(message, reply_to=self.consumers.reply_to)
        if self._publishing[-1].is_spoiled:
            if REPLY_TO in self._queues:
                self._channel.connection.close()
                future.set_exception(BrokerAwayError("a refused message ends the connection"))
                return
            self._replace_publishing()
        self._publishing[-1].publish(message, user, future)

    def _replace_publishing(self) -> None:
        self._publishing[-1].retire()
        self._publishing = [one for one in self._publishing if one.has_unconfirmed]
        self._open_publishing()
