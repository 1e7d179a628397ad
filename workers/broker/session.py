"""One connection of a link, from its start to its end: its channel and its unconfirmed messages."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pika

from producers.amqp import properties
from producers.message import Message
from workers.broker.consumers import Consumers
from workers.broker.delivery import Delivery
from workers.broker.topology import REPLY_TO
from workers.errors import BrokerAwayError, BrokerError, RefusedError, UnroutableError


class BrokerSession:
    """A channel that consumes and publishes; used on the link's thread.

    Args:
        number: the connection's number within its link.

    Attributes:
        consumers: None until `consume`.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.consumers: Consumers | None = None
        self._channel: Any = None
        self._next_tag = 1
        # delivery tag -> message id and the future to settle
        self._unconfirmed: OrderedDict[int, tuple[str, Future[None]]] = OrderedDict()
        self._returned: set[str] = set()
        # handed over by other threads (under the link's lock), not yet published
        self.pending: set[Future[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the channel is open."""
        return self._channel is not None and bool(self._channel.is_open)

    def open(self, channel: Any, on_ready: Callable[[], None]) -> None:  # noqa: ANN401 - pika has no types
        """Use this channel, and call `on_ready` when its confirms are on."""
        self._channel = channel
        channel.add_on_return_callback(
            lambda _channel, _method, header, _body: self._returned.add(header.message_id)
        )
        channel.confirm_delivery(
            lambda frame: self._confirmed(frame.method), callback=lambda _frame: on_ready()
        )

    def consume(self, queues: Mapping[str, int], on_delivery: Callable[[Delivery], None]) -> None:
        """Make the consumers of these queues, each with its prefetch; they wait for `want`."""
        self.consumers = Consumers(self._channel, self.number, queues, on_delivery)

    def close(self) -> None:
        """Settle all futures: the connection has ended."""
        for future in (*(future for _, future in self._unconfirmed.values()), *self.pending):
            future.set_exception(BrokerAwayError("the connection ended before the confirm"))
        self._unconfirmed.clear()
        self.pending.clear()

    def settle(self, deliveries: Sequence[Delivery], *, requeue: bool) -> None:
        """Acknowledge or requeue the deliveries of this connection; ignores all others."""
        if not self.is_open:
            return
        for delivery in deliveries:
            if delivery.connection != self.number or delivery.queue == REPLY_TO:
                continue
            if requeue:
                self._channel.basic_reject(delivery.tag, requeue=True)
            else:
                self._channel.basic_ack(delivery.tag)

    def publish(self, message: Message, user: str, future: Future[None]) -> None:
        """Publish a message of `pending`; the confirm settles the future."""
        if future not in self.pending:  # the connection has ended meanwhile
            return
        self.pending.discard(future)
        if not self.is_open:
            future.set_exception(BrokerAwayError("not connected to the broker"))
            return
        self._channel.basic_publish(
            message.exchange,
            message.routing_key,
            message.body,
            properties(self._addressed(message), user),
            mandatory=message.mandatory,
        )
        self._unconfirmed[self._next_tag] = (message.id, future)
        self._next_tag += 1

    def _addressed(self, message: Message) -> Message:
        """The message with the name of our own queue, if it is to be answered there."""
        if message.reply_to != REPLY_TO or self.consumers is None:
            return message
        return replace(message, reply_to=self.consumers.reply_to)

    def _confirmed(self, method: Any) -> None:  # noqa: ANN401 - pika has no types
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            message_id, future = self._unconfirmed.pop(tag)
            error: BrokerError | None = None
            # the broker returns an unroutable message before it confirms it
            if message_id in self._returned:
                self._returned.discard(message_id)
                error = UnroutableError("the message reached no queue")
            elif not isinstance(method, pika.spec.Basic.Ack):
                error = RefusedError("the broker refused the message: a queue is full")
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
