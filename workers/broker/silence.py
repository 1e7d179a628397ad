"""Leaves a broker that keeps its connections and sends nothing, not even heartbeats."""

import time
from typing import Any

from pika.exceptions import AMQPHeartbeatTimeout

from producers.amqp import HEARTBEAT_SECONDS


def leave_if_silent(connection: Any) -> None:  # noqa: ANN401 - pika has no types
    """End the connection when the broker has missed two heartbeats; pika waits up to four times as long.

    The loop itself may be held up for some time: it reads what came meanwhile before it looks. It looks
    only when a silence could be over, because an idle worker should not wake.
    """
    heard_at, receive = time.monotonic(), connection._on_data_available  # noqa: SLF001

    def hear(data: bytes) -> None:
        nonlocal heard_at
        heard_at = time.monotonic()
        receive(data)

    def look() -> None:
        if connection.is_closed:
            return
        silent = time.monotonic() - heard_at
        if silent >= HEARTBEAT_SECONDS:
            # as pika ends a connection without heartbeats: a silent peer does not answer a close
            error = AMQPHeartbeatTimeout(f"the broker is silent for {silent:.0f} s")
            connection._terminate_stream(error)  # noqa: SLF001
            return
        connection.ioloop.call_later(HEARTBEAT_SECONDS - silent, look)

    connection._on_data_available = hear  # noqa: SLF001
    look()
