"""A short connection to the broker, and a broker that says nothing."""

from __future__ import annotations

import socket

import pika
import pytest
from pika.exceptions import AMQPConnectionError

from workers.broker.blocking import blocking_channel


def test_a_broker_that_takes_connections_and_says_nothing_is_away_as_any_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        parameters = pika.URLParameters(f"amqp://a:b@127.0.0.1:{mute.getsockname()[1]}/v")
        parameters.stack_timeout = 0.2
        with (
            pytest.raises(AMQPConnectionError, match=r"no answer within 0\.2 s"),
            blocking_channel(parameters),
        ):
            pytest.fail("nobody answered")
