"""A channel of a session on which messages are published and confirmed."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pika
from pika.exceptions import ChannelClosedByClient

from producers.amqp import NACKED, properties
from producers.message import Message
from workers.errors import BrokerAwayError, BrokerError, RefusedError, UnroutableError


class PublishingChannel:
    """Publishes over its own channel, once that is open; used on the link's thread.

    `on_ready` is called when the broker confirms messages from now on, `on_lost` when it has closed
    the channel.

    Attributes:
        is_spoiled: whether the broker has refused a message. RabbitMQ then refuses all messages of
            this channel to the same queue, even when the queue has a leader again
            (rabbit_fifo_client:enqueue).
    """

    def __init__(
        self, on_ready: Callable[[], None], on_lost: Callable[[BaseException], None]
    ) -> None:
        self.is_spoiled = False
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._channel: Any = None
        self._is_ready = False
        self._is_retired = False
        self._next_tag = 1
        self._waiting: list[tuple[Message, str, Future[None]]] = []
        # delivery tag -> message id and the future to settle
        self._unconfirmed: OrderedDict[int, tuple[str, Future[None]]] = OrderedDict()
        self._returned: set[str] = set()

    def open(self, channel: Any) -> None:  # noqa: ANN401 - pika has no types
        """Use this channel."""
        self._channel = channel
        channel.add_on_return_callback(
            lambda _channel, _method, header, _body: self._returned.add(header.message_id)
        )
        channel.add_on_close_callback(lambda _channel, error: self._closed(error))
        channel.confirm_delivery(
            lambda frame: self._confirmed(frame.method), callback=lambda _frame: self._ready()
        )

    def publish(self, message: Message, user: str, future: Future[None]) -> None:
        """Publish a message, at once or when the channel is open; the confirm settles the future."""
        if not self._is_ready:
            self._waiting.append((message, user, future))
            return
        self._channel.basic_publish(
            message.exchange,
            message.routing_key,
            message.body,
            properties(message, user),
            mandatory=message.mandatory,
        )
        self._unconfirmed[self._next_tag] = (message.id, future)
        self._next_tag += 1

    @property
    def has_unconfirmed(self) -> bool:
        """Whether the broker has yet to answer for a message."""
        return bool(self._unconfirmed)

    def retire(self) -> None:
        """Close the channel as soon as the broker has answered for all its messages."""
        self._is_retired = True
        if not self._unconfirmed and self._channel.is_open:
            self._channel.close()

    def fail(self) -> None:
        """Settle all futures: the connection has ended."""
        futures = (*(one[1] for one in self._unconfirmed.values()), *(w[2] for w in self._waiting))
        for future in futures:
            future.set_exception(BrokerAwayError("the connection ended before the confirm"))
        self._unconfirmed.clear()
        self._waiting.clear()

    def _ready(self) -> None:
        if not self._channel.is_open:
            return  # the connection is closing; `fail` settles what waits
        self._is_ready = True
        self._on_ready()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self.publish(*one)

    def _closed(self, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByClient):
            self._on_lost(error)

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
                self.is_spoiled = True
                error = RefusedError(f"the broker refused the message: {NACKED}")
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        if self._is_retired:
            self.retire()
