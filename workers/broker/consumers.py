"""The consumers of one channel; each renews itself after the broker has cancelled it."""

import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from pika.exceptions import ChannelClosedByBroker

from workers.broker.backoff import Backoff
from workers.broker.delivery import Delivery
from workers.broker.roles import reply_prefix
from workers.broker.subscription import Signal, Subscription, SubscriptionStep, after
from workers.broker.topology import REPLY_TO, TOKEN_REPLIES

_ANSWER_SECONDS = 5.0


class Consumers:
    """Consumes queues on a channel; used on the link's thread.

    Args:
        channel: open.
        connection: the connection's number within its link.
        queues: each with its prefetch; for REPLY_TO, a queue of this connection's own. It ends with
            the connection, needs no acknowledgements, and RabbitMQ stores no message that its
            consumer can take at once.
        on_delivery: called for every delivery.

    Attributes:
        reply_to: the name of this connection's queue for replies.
    """

    def __init__(
        self,
        channel: Any,  # noqa: ANN401 - pika has no types
        connection: int,
        queues: Mapping[str, int],
        on_delivery: Callable[[Delivery], None],
    ) -> None:
        self._channel = channel
        self._number = connection
        user = channel.connection.params.credentials.username
        self.reply_to = f"{reply_prefix(user)}{secrets.token_hex(16)}"
        self._queues = queues
        self._on_delivery = on_delivery
        self._subscriptions = {queue: Subscription(queue) for queue in queues}
        self._backoffs = {queue: Backoff() for queue in queues}
        self._asked = dict.fromkeys(queues, time.monotonic())
        self._requested: list[str] = []  # consumers that the broker has yet to confirm, in order
        self._log = structlog.get_logger()
        channel.add_on_cancel_callback(lambda frame: self._cancelled(frame.method.consumer_tag))

    @property
    def lost(self) -> list[str]:
        """The queues that the link wants and the broker does not deliver; for any thread."""
        return [s.queue for s in self._subscriptions.values() if s.is_lost and s.wanted]

    @property
    def unanswered(self) -> list[str]:
        """The other queues that the link wants, and for which the broker is silent; for any thread."""
        late = time.monotonic() - _ANSWER_SECONDS
        found = self._subscriptions.values()
        return [
            s.queue for s in found if not (s.is_lost or _done(s)) and self._asked[s.queue] < late
        ]

    @property
    def awaited(self) -> str | None:
        """The queue whose consumer the broker is to confirm next, if it is still to confirm one."""
        return next(iter(self._requested), None)

    @property
    def all_consumed(self) -> bool:
        """Whether the broker delivers all queues that the link wants; for any thread."""
        return all(map(_done, self._subscriptions.values()))

    def want(self, wanted: bool) -> None:  # noqa: FBT001 - a predicate
        """Consume all queues, or none of them; earlier deliveries stay valid."""
        for queue in self._queues:
            self._signal(queue, Signal.RESUME if wanted else Signal.PAUSE)

    def _signal(self, queue: str, signal: Signal) -> None:
        if not self._channel.is_open:
            return
        before = self._subscriptions[queue]
        self._subscriptions[queue], step = after(before, signal)
        match step:
            case SubscriptionStep.CHECK:
                self._asked[queue] = time.monotonic()
                self._check(queue)
            case SubscriptionStep.CONSUME:
                self._consume(queue)
            case SubscriptionStep.CANCEL:
                self._channel.basic_cancel(before.tag)
            case SubscriptionStep.WAIT:
                wait = self._backoffs[queue].next()
                self._loop.call_later(wait, partial(self._signal, queue, Signal.WAITED))

    @property
    def _loop(self) -> Any:  # noqa: ANN401 - pika has no types
        return self._channel.connection.ioloop

    def _check(self, queue: str) -> None:
        """Look for the queue on another channel: the broker closes it if there is no such queue."""
        if queue == REPLY_TO:
            # without waiting for answers: it must be consumed before the first request is published
            self._channel.queue_declare(self.reply_to, exclusive=True)
            self._channel.queue_bind(self.reply_to, TOKEN_REPLIES, self.reply_to)
            self._signal(queue, Signal.FOUND)
            return

        def opened(probe: Any) -> None:  # noqa: ANN401 - pika has no types
            if not self._channel.is_open:
                return  # the connection is closing, and its channels with it
            probe.add_on_close_callback(closed)
            probe.queue_declare(queue, passive=True, callback=lambda _frame: found(probe))

        def found(probe: Any) -> None:  # noqa: ANN401 - pika has no types
            if self._channel.is_open and probe.is_open:
                probe.close()
            self._signal(queue, Signal.FOUND)

        def closed(_probe: object, error: BaseException) -> None:
            if isinstance(error, ChannelClosedByBroker):
                self._lose(queue, Signal.MISSING, error.reply_text)

        self._channel.connection.channel(on_open_callback=opened)

    def _consume(self, queue: str) -> None:
        tag, no_ack = self._subscriptions[queue].tag, queue == REPLY_TO
        self._requested.append(queue)
        if not no_ack:
            self._channel.basic_qos(prefetch_count=self._queues[queue])
        self._channel.basic_consume(
            self.reply_to if no_ack else queue,
            partial(self._delivered, queue),
            auto_ack=no_ack,
            consumer_tag=tag,
            callback=lambda _frame: self._consumed(queue, tag),
        )

    def _consumed(self, queue: str, tag: str) -> None:
        self._requested.remove(queue)
        subscription = self._subscriptions[queue]
        if subscription.tag == tag:
            if subscription.is_lost:
                self._log.info("queue_consumed_again", queue=queue)
            self._signal(queue, Signal.CONSUMED)

    def _cancelled(self, tag: str) -> None:
        for queue in [s.queue for s in self._subscriptions.values() if s.tag == tag]:
            self._lose(queue, Signal.CANCELLED, "the broker cancelled the consumer")

    def _lose(self, queue: str, signal: Signal, reason: str) -> None:
        was_lost = self._subscriptions[queue].is_lost
        self._signal(queue, signal)
        if self._subscriptions[queue].is_lost and not was_lost:
            remedy = "if this lasts, run lamplighter topology apply"
            self._log.warning("queue_not_consumed", queue=queue, reason=reason, remedy=remedy)

    def _delivered(
        self,
        queue: str,
        _channel: object,
        method: Any,  # noqa: ANN401 - pika has no types
        header: Any,  # noqa: ANN401
        body: bytes,
    ) -> None:
        self._on_delivery(
            Delivery(
                queue=queue,
                routing_key=method.routing_key,
                body=body,
                headers=header.headers or {},
                message_id=header.message_id,
                user_id=header.user_id,
                reply_to=header.reply_to,
                correlation_id=header.correlation_id,
                redelivered=method.redelivered,
                connection=self._number,
                tag=method.delivery_tag,
                exchange=method.exchange,
            )
        )


def _done(subscription: Subscription) -> bool:
    return subscription.is_consumed or not subscription.wanted
