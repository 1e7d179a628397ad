"""Publishes batches of messages over one connection, with pipelined confirms.

Waiting for the confirm of each message takes nine times as long as the whole hook
(docs/adr/0002-hooks.md).
"""

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from producers.amqp import NACKED, ConnectionParameters, properties, reason_of, root_error
from producers.message import Batch, Message, PublishResult
from producers.settings import ConfigError

# Messages sent before the loop handles the broker's answers and the time limit.
_AT_ONCE = 200
# Time for the broker to answer our close; one that was silent before gets none.
_CLOSE_SECONDS = 0.3
_NOT_FOUND = 404


def publish(
    parameters: ConnectionParameters, batches: Iterable[Batch], seconds: float
) -> PublishResult:
    """Send one batch after the other, and report to each which messages the broker did not accept.

    A batch is read from `batches` only when the one before is settled. A batch that is refused or
    reaches no queue does not stop those after it; a lost connection or a time limit stops all.
    `seconds` limits connecting, and all until a batch sets its own limit. With several addresses,
    each has its share of what is left of the limit to connect, and to go on confirming; then the
    next one gets what is not confirmed yet.
    """
    try:
        addresses = parameters.addresses()
    except ConfigError as error:
        return PublishResult(str(error), lost=False)
    return _Publishing(parameters, batches).run(addresses, seconds)


class _Publishing:
    """One connection at a time, and the batches sent over it."""

    def __init__(self, parameters: ConnectionParameters, batches: Iterable[Batch]) -> None:
        self._parameters = parameters
        self._batches = iter(batches)
        self._batch: Batch | None = None
        self._unsent: Iterator[Message] = iter(())
        self._unconfirmed: dict[int, Message] = {}  # by delivery tag, ascending
        self._refused: list[Message] = []
        self._unroutable: list[Message] = []
        self._problem: str | None = None  # of messages that were not accepted
        self._lost = False
        self._until = 0.0
        self._start(0)

    def _start(self, addresses_left: int) -> None:
        """Forget the last connection; after the next one, this many addresses are left to try."""
        # the next address gets what the last one has not confirmed
        self._unsent = iter(self._open())
        self._all_sent = False
        self._unconfirmed = {}
        self._returned: set[str] = set()
        self._tag = 0
        self._failure: str | None = None
        self._closing = False
        self._blocked = ""
        self._timer: object = None
        self._connection: Any = None
        self._channel: Any = None
        self._heard_at = time.monotonic()
        left = self._until - self._heard_at
        # how long the broker may be silent, and how long it may take with everything
        self._patience = left / (addresses_left + 1) if addresses_left else float("inf")
        self._seconds = left

    def run(self, addresses: list[pika.URLParameters], seconds: float) -> PublishResult:
        self._until = time.monotonic() + seconds
        failures = []
        try:
            for number, address in enumerate(addresses, 1):
                self._start(len(addresses) - number)
                self._attempt(address)
                if self._failure is None:
                    return PublishResult(self._problem, lost=False)
                place = f"{address.host}:{address.port}: " if len(addresses) > 1 else ""
                failures.append(f"{place}{self._failure}")
                if time.monotonic() >= self._until:
                    break
        finally:
            self._settle()
        return PublishResult(self._problem or "; ".join(failures), self._lost)

    def _attempt(self, address: pika.URLParameters) -> None:
        try:
            self._connection = pika.SelectConnection(
                address,
                on_open_callback=self._on_connected,
                on_open_error_callback=lambda _, error: self._close(
                    self._unconnected(error, address)
                ),
                on_close_callback=self._on_closed,
            )
            self._limit()
            self._connection.ioloop.start()
        except (AMQPError, OSError, RuntimeError) as error:  # also: pika may start no thread
            self._failure = self._failure or self._unconnected(error, address)
        finally:
            if self._connection is not None:  # the relay runs for a long time
                self._connection.ioloop.close()

    def _unconnected(self, error: BaseException, address: pika.URLParameters) -> str:
        reason = reason_of(error, self._parameters.broker, address)
        return f"cannot connect: {reason or repr(root_error(error))}"

    def _on_connected(self, connection: Any) -> None:  # noqa: ANN401 - pika has no types
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.channel(on_open_callback=self._on_channel)

    def _on_blocked(self, _connection: object, frame: Any) -> None:  # noqa: ANN401 - pika has no types
        self._blocked = f": the broker accepts no messages now ({frame.method.reason})"

    def _on_channel(self, channel: Any) -> None:  # noqa: ANN401 - pika has no types
        self._channel = channel
        channel.add_on_close_callback(lambda _, error: self._on_broker_close(_channel_words(error)))
        channel.add_on_return_callback(
            lambda _channel, _method, header, _body: self._returned.add(header.message_id)
        )
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._on_ready())

    def _on_ready(self) -> None:
        self._heard_at = time.monotonic()
        if self._batch is None:
            self._next_batch()
        else:  # the address before has not confirmed all of it
            self._send()

    def _next_batch(self) -> None:
        self._batch = next(self._batches, None)
        if self._batch is None:
            self._close(None)
            return
        if self._batch.seconds is not None:
            self._seconds = self._batch.seconds
            self._until = time.monotonic() + self._seconds
            self._limit()
        self._unsent, self._all_sent = iter(self._batch.messages), False
        self._send()

    def _send(self) -> None:
        if self._closing:
            return
        messages = list(islice(self._unsent, _AT_ONCE))
        for message in messages:
            self._tag += 1
            self._unconfirmed[self._tag] = message
            self._channel.basic_publish(
                message.exchange,
                message.routing_key,
                message.body,
                properties(message, self._parameters.user),
                mandatory=message.mandatory,
            )
        if len(messages) == _AT_ONCE:
            self._connection.ioloop.call_later(0, self._send)
        else:
            self._all_sent = True
            self._finish_batch()

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - pika has no types
        self._heard_at = time.monotonic()
        last, accepted = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Ack)
        tags = [last]
        if frame.method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= last]
        for tag in tags:
            message = self._unconfirmed.pop(tag)
            if not accepted:
                self._refused.append(message)
            # The broker returns an unroutable message before it confirms it.
            elif message.id in self._returned:
                self._unroutable.append(message)
        self._finish_batch()

    def _finish_batch(self) -> None:
        if not self._closing and self._all_sent and not self._unconfirmed:
            self._settle()
            self._next_batch()

    def _settle(self) -> None:
        """Report to the current batch, if there is one, what the broker did not accept."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if self._refused:
            self._add_problem(f"the broker refused {len(self._refused)} messages: {NACKED}")
        if self._unroutable:
            self._add_problem(
                f"{len(self._unroutable)} messages reached no queue: run lamplighter topology apply"
            )
        left = [*self._refused, *self._unroutable, *self._open()]
        self._refused, self._unroutable, self._unconfirmed = [], [], {}
        self._returned.clear()
        if left:
            batch.left(left)
        else:
            batch.confirmed()

    def _open(self) -> list[Message]:
        return [*self._unconfirmed.values(), *self._unsent]

    def _add_problem(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _limit(self) -> None:
        """Close when time is up, or when this address was silent for too long."""
        loop = self._connection.ioloop
        if self._timer is not None:
            loop.remove_timeout(self._timer)
        now = time.monotonic()
        silent_at = self._heard_at + self._patience
        if now < min(self._until, silent_at):
            self._timer = loop.call_later(min(self._until, silent_at) - now, self._limit)
            return
        what = "answer" if self._batch is None else "confirm"
        seconds = self._seconds if self._until <= silent_at else self._patience
        self._timer = None
        self._close(f"no {what} within {seconds:.1f} s{self._blocked}")

    def _on_closed(self, _connection: object, error: object) -> None:
        self._on_broker_close(f"connection closed: {error}")
        self._connection.ioloop.stop()

    def _on_broker_close(self, problem: str) -> None:
        """The broker closed the channel or the connection."""
        if not self._closing:
            self._lost = self._lost or self._batch is not None
            self._close(problem)

    def _close(self, failure: str | None) -> None:
        """Close the connection; `failure` is the reason, None on success."""
        if self._closing:
            return
        self._closing = True
        self._failure = failure
        if self._connection.is_open:
            self._connection.close()
            seconds = _CLOSE_SECONDS if self._heard_at + _CLOSE_SECONDS > time.monotonic() else 0.0
            self._connection.ioloop.call_later(seconds, self._connection.ioloop.stop)
        else:  # pika fails on a close while it connects, and has its own time limit for connecting
            self._connection.ioloop.stop()


def _channel_words(error: BaseException) -> str:
    missing = isinstance(error, ChannelClosedByBroker) and error.reply_code == _NOT_FOUND
    remedy = "; run lamplighter topology apply" if missing else ""
    return f"channel closed: {error}{remedy}"
