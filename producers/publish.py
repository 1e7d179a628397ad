"""Publishes batches of messages over one connection, with pipelined confirms.

Waiting for the confirm of each message takes nine times as long as the whole hook
(docs/adr/0002-hooks.md).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pika
from pika.exceptions import AMQPError

from producers.amqp import properties
from producers.message import Batch, Message, PublishResult

# Messages sent before the loop handles the broker's answers and the time limit.
_AT_ONCE = 200
# Time for the broker to answer our close; a broker that blocks publishers does not read it.
_CLOSE_SECONDS = 0.3


def publish(
    parameters: pika.URLParameters, batches: Iterable[Batch], seconds: float
) -> PublishResult:
    """Send one batch after the other, and report to each which messages the broker did not accept.

    A batch is read from `batches` only when the one before is settled. A batch that is refused or
    reaches no queue does not stop those after it; a lost connection or a time limit stops all.
    `seconds` limits connecting, and all until a batch sets its own limit.
    """
    return _Publishing(batches).run(parameters, seconds)


class _Publishing:
    """One connection and the batches sent over it."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._user = ""
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
        self._closing = False
        self._blocked = ""
        self._timer: object = None
        self._connection: Any = None
        self._channel: Any = None

    def run(self, parameters: pika.URLParameters, seconds: float) -> PublishResult:
        self._user = parameters.credentials.username
        try:
            self._connection = pika.SelectConnection(
                parameters,
                on_open_callback=self._on_connected,
                on_open_error_callback=lambda _, error: self._close(
                    f"cannot connect: {_root(error)!r}"
                ),
                on_close_callback=self._on_closed,
            )
            self._set_limit(seconds, "answer")
            self._connection.ioloop.start()
        except (AMQPError, OSError) as error:
            self._problem = self._problem or f"cannot connect: {_root(error)!r}"
        finally:
            self._settle()
            if self._connection is not None:  # the relay runs for a long time
                self._connection.ioloop.close()
        return PublishResult(self._problem, self._lost)

    def _on_connected(self, connection: Any) -> None:  # noqa: ANN401 - pika has no types
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.channel(on_open_callback=self._on_channel)

    def _on_blocked(self, _connection: object, frame: Any) -> None:  # noqa: ANN401 - pika has no types
        self._blocked = f": the broker accepts no messages now ({frame.method.reason})"

    def _on_channel(self, channel: Any) -> None:  # noqa: ANN401 - pika has no types
        self._channel = channel
        channel.add_on_close_callback(
            lambda _, error: self._on_broker_close(f"channel closed: {error}")
        )
        channel.add_on_return_callback(
            lambda _channel, _method, header, _body: self._returned.add(header.message_id)
        )
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._next_batch())

    def _next_batch(self) -> None:
        self._batch = next(self._batches, None)
        if self._batch is None:
            self._close(None)
            return
        self._unsent, self._all_sent = iter(self._batch.messages), False
        if self._batch.seconds is not None:
            self._set_limit(self._batch.seconds, "confirm")
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
                properties(message, self._user),
                mandatory=message.mandatory,
            )
        if len(messages) == _AT_ONCE:
            self._connection.ioloop.call_later(0, self._send)
        else:
            self._all_sent = True
            self._finish_batch()

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - pika has no types
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
            self._add_problem(f"the broker refused {len(self._refused)} messages: a queue is full")
        if self._unroutable:
            self._add_problem(
                f"{len(self._unroutable)} messages reached no queue: run lamplighter topology apply"
            )
        left = [*self._refused, *self._unroutable, *self._unconfirmed.values(), *self._unsent]
        self._refused, self._unroutable, self._unconfirmed = [], [], {}
        self._returned.clear()
        if left:
            batch.left(left)
        else:
            batch.confirmed()

    def _add_problem(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _set_limit(self, seconds: float, what: str) -> None:
        loop = self._connection.ioloop
        if self._timer is not None:
            loop.remove_timeout(self._timer)
        self._timer = loop.call_later(
            max(0.0, seconds),
            lambda: self._close(f"no {what} within {seconds:.1f} s{self._blocked}"),
        )

    def _on_closed(self, _connection: object, error: object) -> None:
        self._on_broker_close(f"connection closed: {error}")
        self._connection.ioloop.stop()

    def _on_broker_close(self, problem: str) -> None:
        """The broker closed the channel or the connection."""
        if not self._closing:
            self._lost = self._batch is not None
            self._close(problem)

    def _close(self, problem: str | None) -> None:
        """Close the connection; `problem` is the reason, None on success."""
        if self._closing:
            return
        self._closing = True
        if problem is not None:
            self._add_problem(problem)
        if self._connection.is_open:
            self._connection.close()
            self._connection.ioloop.call_later(_CLOSE_SECONDS, self._connection.ioloop.stop)
        else:  # pika fails on a close while it connects, and has its own time limit for connecting
            self._connection.ioloop.stop()


def _root(error: BaseException) -> BaseException:
    """The original error inside pika's nested connection errors."""
    while True:
        inner = getattr(error, "exceptions", None) or error.args
        if not inner or not isinstance(inner[-1], BaseException):
            return error
        error = inner[-1]
