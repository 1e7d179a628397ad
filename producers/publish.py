"""Publishes batches of messages over one connection, confirms pipelined.

A blocking confirm a message costs nine times as much as the whole hook (docs/adr/0002-hooks.md).
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.exceptions import AMQPError

from producers.amqp import properties
from producers.message import Batch

_GOODBYE = 0.3


@dataclass(slots=True)
class _State:
    """A publish under way."""

    batches: Iterator[Batch]
    batch: Batch | None = None
    open: set[int] = field(default_factory=set)
    tag: int = 0
    returned: int = 0
    refused: int = 0
    problem: str | None = None
    finished: bool = False


def publish(parameters: pika.URLParameters, batches: Iterable[Batch], seconds: float) -> str | None:
    """Send each batch, and tell it once the broker has confirmed all of it.

    A batch is asked for only when the one before is through. The first trouble ends it all.

    Args:
        parameters: how to connect.
        batches: what to send.
        seconds: for everything, connecting included.

    Returns:
        None when every batch is confirmed, else what went wrong, in words.
    """
    state = _State(iter(batches))
    deadline = time.monotonic() + seconds
    try:
        connection: Any = pika.SelectConnection(
            parameters,
            on_open_callback=lambda opened: opened.channel(
                on_open_callback=lambda channel: _on_channel(state, connection, channel)
            ),
            on_open_error_callback=lambda c, error: _end(state, c, f"cannot connect: {error!r}"),
            on_close_callback=lambda c, error: _end(state, c, f"connection closed: {error}"),
        )
        connection.ioloop.call_later(
            max(0.0, deadline - time.monotonic()),
            lambda: _end(state, connection, f"no confirm within {seconds:g} s"),
        )
        connection.ioloop.start()
    except (AMQPError, OSError) as error:
        return state.problem or f"cannot connect: {error!r}"
    connection.ioloop.close()
    return state.problem


def _on_channel(state: _State, connection: Any, channel: Any) -> None:  # noqa: ANN401 - pika has no types
    channel.add_on_close_callback(lambda _channel, error: _channel_closed(state, connection, error))
    channel.add_on_return_callback(lambda *_: _count_return(state))
    channel.confirm_delivery(
        lambda frame: _on_confirm(state, connection, channel, frame.method),
        callback=lambda _frame: _next_batch(state, connection, channel),
    )


def _channel_closed(state: _State, connection: Any, error: BaseException) -> None:  # noqa: ANN401 - pika has no types
    """Our own goodbye closes the channel first; then the connection's close is still to come."""
    if not state.finished:
        _end(state, connection, f"channel closed: {error}")


def _next_batch(state: _State, connection: Any, channel: Any) -> None:  # noqa: ANN401 - pika has no types
    if state.batch is not None:
        state.batch.confirmed()
    state.batch = next(state.batches, None)
    if state.batch is None:
        _end(state, connection, None)
        return
    for message in state.batch.messages:
        channel.basic_publish(
            message.exchange,
            message.routing_key,
            message.body,
            properties(message),
            mandatory=message.mandatory,
        )
        state.tag += 1
        state.open.add(state.tag)


def _count_return(state: _State) -> None:
    state.returned += 1


def _on_confirm(state: _State, connection: Any, channel: Any, method: Any) -> None:  # noqa: ANN401 - pika has no types
    tags = {method.delivery_tag}
    if method.multiple:
        tags = {tag for tag in state.open if tag <= method.delivery_tag}
    state.open -= tags
    if not isinstance(method, pika.spec.Basic.Ack):
        state.refused += len(tags)
    if state.open:
        return
    if state.refused:
        _end(state, connection, f"the broker refused {state.refused} messages: a queue is full")
    elif state.returned:
        _end(
            state,
            connection,
            f"{state.returned} messages reached no queue; run lamplighter topology apply",
        )
    else:
        _next_batch(state, connection, channel)


def _end(state: _State, connection: Any, problem: str | None) -> None:  # noqa: ANN401 - pika has no types
    """Say goodbye and wait a moment for the answer; what comes after that ends the loop."""
    if state.finished or not connection.is_open:
        if not state.finished:
            state.problem = problem
        state.finished = True
        connection.ioloop.stop()
        return
    state.finished, state.problem = True, problem
    # a broker in memory alarm reads nothing from us, not even a goodbye
    connection.ioloop.call_later(_GOODBYE, connection.ioloop.stop)
    connection.close()
