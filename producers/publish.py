"""Publishes batches of messages over one connection, confirms pipelined.

A blocking confirm a message costs nine times as much as the whole hook (docs/adr/0002-hooks.md).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pika
from pika.exceptions import AMQPError

from producers.amqp import properties
from producers.message import Batch, Message, PublishResult

# Sent before the loop may look at the broker's answers and at the time.
_AT_ONCE = 200
# For the broker to answer our goodbye; one that blocks publishers does not even read it.
_GOODBYE_SECONDS = 0.3


def publish(
    parameters: pika.URLParameters, batches: Iterable[Batch], seconds: float
) -> PublishResult:
    """Send one batch after the other, and tell each what the broker did not take of it.

    A batch is asked for only when the one before is through. One that is refused or reaches no
    queue does not hold up those behind it; a lost connection or a lapse of time ends it all.

    Args:
        parameters: how to connect.
        batches: what to send.
        seconds: for connecting, and for all until a batch brings its own limit.
    """
    return _Publishing(batches).run(parameters, seconds)


class _Publishing:
    """One connection's worth of it."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._batch: Batch | None = None
        self._unsent: Iterator[Message] = iter(())
        self._all_sent = False
        self._unconfirmed: dict[int, Message] = {}  # by delivery tag, ascending
        self._returned: set[str] = set()
        self._refused: list[Message] = []
        self._unroutable: list[Message] = []
        self._tag = 0
        self._problem: str | None = None
        self._lost = False
        self._leaving = False
        self._blocked = ""
        self._timer: object = None
        self._connection: Any = None
        self._channel: Any = None

    def run(self, parameters: pika.URLParameters, seconds: float) -> PublishResult:
        try:
            self._connection = pika.SelectConnection(
                parameters,
                on_open_callback=self._on_connected,
                on_open_error_callback=lambda _, error: self._leave(
                    f"cannot connect: {_root(error)!r}"
                ),
                on_close_callback=self._on_closed,
            )
            self._limit(seconds, "answer")
            self._connection.ioloop.start()
        except (AMQPError, OSError) as error:
            self._problem = self._problem or f"cannot connect: {_root(error)!r}"
        finally:
            self._settle()
            if self._connection is not None:  # the relay lives long
                self._connection.ioloop.close()
        return PublishResult(self._problem, self._lost)

    def _on_connected(self, connection: Any) -> None:  # noqa: ANN401 - pika has no types
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.channel(on_open_callback=self._on_channel)

    def _on_blocked(self, _connection: object, frame: Any) -> None:  # noqa: ANN401 - pika has no types
        self._blocked = f": the broker takes nothing now ({frame.method.reason})"

    def _on_channel(self, channel: Any) -> None:  # noqa: ANN401 - pika has no types
        self._channel = channel
        channel.add_on_close_callback(lambda _, error: self._end(f"channel closed: {error}"))
        channel.add_on_return_callback(
            lambda _channel, _method, header, _body: self._returned.add(header.message_id)
        )
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._next_batch())

    def _next_batch(self) -> None:
        self._batch = next(self._batches, None)
        if self._batch is None:
            self._leave(None)
            return
        self._unsent, self._all_sent = iter(self._batch.messages), False
        if self._batch.seconds is not None:
            self._limit(self._batch.seconds, "confirm")
        self._send()

    def _send(self) -> None:
        if self._leaving:
            return
        messages = list(islice(self._unsent, _AT_ONCE))
        for message in messages:
            self._tag += 1
            self._unconfirmed[self._tag] = message
            self._channel.basic_publish(
                message.exchange,
                message.routing_key,
                message.body,
                properties(message),
                mandatory=message.mandatory,
            )
        if len(messages) == _AT_ONCE:
            self._connection.ioloop.call_later(0, self._send)
        else:
            self._all_sent = True
            self._go_on()

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - pika has no types
        last, taken = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Ack)
        tags = [last]
        if frame.method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= last]
        for tag in tags:
            message = self._unconfirmed.pop(tag)
            if not taken:
                self._refused.append(message)
            # The broker returns a message before it confirms it.
            elif message.id in self._returned:
                self._unroutable.append(message)
        self._go_on()

    def _go_on(self) -> None:
        if not self._leaving and self._all_sent and not self._unconfirmed:
            self._settle()
            self._next_batch()

    def _settle(self) -> None:
        """Tell the batch, if one is under way, what the broker did not take."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if self._refused:
            self._note(f"the broker refused {len(self._refused)} messages: a queue is full")
        if self._unroutable:
            self._note(
                f"{len(self._unroutable)} messages reached no queue: run lamplighter topology apply"
            )
        left = [*self._refused, *self._unroutable, *self._unconfirmed.values(), *self._unsent]
        self._refused, self._unroutable, self._unconfirmed = [], [], {}
        self._returned.clear()
        if left:
            batch.left(left)
        else:
            batch.confirmed()

    def _note(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _limit(self, seconds: float, what: str) -> None:
        loop = self._connection.ioloop
        if self._timer is not None:
            loop.remove_timeout(self._timer)
        self._timer = loop.call_later(
            max(0.0, seconds),
            lambda: self._leave(f"no {what} within {seconds:.1f} s{self._blocked}"),
        )

    def _on_closed(self, _connection: object, error: object) -> None:
        self._end(f"connection closed: {error}")
        self._connection.ioloop.stop()

    def _end(self, problem: str) -> None:
        """The broker ended it."""
        if not self._leaving:
            self._lost = self._batch is not None
            self._leave(problem)

    def _leave(self, problem: str | None) -> None:
        """Say goodbye, whatever brought us here."""
        if self._leaving:
            return
        self._leaving = True
        if problem is not None:
            self._note(problem)
        if self._connection.is_open:
            self._connection.close()
            self._connection.ioloop.call_later(_GOODBYE_SECONDS, self._connection.ioloop.stop)
        else:  # pika does not stand a close while it connects; it has a limit of its own for that
            self._connection.ioloop.stop()


def _root(error: BaseException) -> BaseException:
    """What lies beneath pika's layers of "connecting failed"."""
    while True:
        inner = getattr(error, "exceptions", None) or error.args
        if not inner or not isinstance(inner[-1], BaseException):
            return error
        error = inner[-1]
