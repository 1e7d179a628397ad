"""Leaves a broker that keeps its connections and sends nothing, not even heartbeats."""

import time
from typing import Any

from pika.exceptions import AMQPHeartbeatTimeout

from producers.amqp import HEARTBEAT_SECONDS

_LOOK_SECONDS = 0.5


def leave_if_silent(connection: Any) -> None:  # noqa: ANN401 - pika has no types
    """End the connection when the broker has missed two heartbeats; pika waits up to four times as long.

    The loop itself may be held up for some time: it reads what came meanwhile before it looks.
    """
    received, heard_at = connection.bytes_received, time.monotonic()

    def look() -> None:
        nonlocal received, heard_at
        if connection.is_closed:
            return
        now = time.monotonic()
        if connection.bytes_received != received:
            received, heard_at = connection.bytes_received, now
        if now - heard_at > HEARTBEAT_SECONDS:
            # as pika ends a connection without heartbeats: a silent peer does not answer a close
            error = AMQPHeartbeatTimeout(f"the broker is silent for {now - heard_at:.0f} s")
            connection._terminate_stream(error)  # noqa: SLF001
            return
        connection.ioloop.call_later(_LOOK_SECONDS, look)

    look()
