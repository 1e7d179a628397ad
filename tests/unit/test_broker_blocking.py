"""A short connection to the broker, and our errors for the broker's problems."""

from __future__ import annotations

import socket

import pika
import pytest
from pika import exceptions

from workers.broker.blocking import blocking_channel, broker_errors
from workers.errors import (
    AccessRefusedError,
    BrokerAwayError,
    BrokerError,
    BrokerLoginError,
    NotDeclaredError,
)


def test_a_silent_broker_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        parameters = pika.URLParameters(f"amqp://a:b@127.0.0.1:{silent.getsockname()[1]}/v")
        parameters.stack_timeout = 0.2
        with (
            pytest.raises(BrokerAwayError, match=r"no answer within 0\.2 s"),
            blocking_channel(parameters),
        ):
            pytest.fail("the broker is silent")


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1:1", "does not answer: start it"),
        ("nowhere.invalid", "nowhere.invalid is unknown: check broker.url"),
    ],
)
def test_a_broker_without_a_connection_is_away(host: str, text: str) -> None:
    with (
        pytest.raises(BrokerAwayError, match=text),
        blocking_channel(pika.URLParameters(f"amqp://a:b@{host}/v")),
    ):
        pytest.fail("there is no broker")


@pytest.mark.parametrize(
    ("theirs", "ours", "text"),
    [
        (exceptions.AMQPConnectionError(), BrokerAwayError, "check broker.url"),
        (exceptions.AMQPHeartbeatTimeout("late"), BrokerAwayError, "late"),
        (exceptions.ConnectionWrongStateError(), BrokerAwayError, "ConnectionWrongStateError"),
        (exceptions.ConnectionClosedByBroker(320, "forced"), BrokerAwayError, "forced"),
        (exceptions.ProbableAuthenticationError(), BrokerLoginError, "broker.password_file"),
        (exceptions.ProbableAccessDeniedError(), BrokerLoginError, "set_permissions"),
        (exceptions.ChannelClosedByBroker(403, "no right"), AccessRefusedError, "no right"),
        (exceptions.ChannelClosedByBroker(404, "no queue"), NotDeclaredError, "no queue"),
        (exceptions.ChannelClosedByBroker(406, "x-args"), BrokerError, "x-args"),
        (exceptions.ChannelClosedByBroker(540, "new"), BrokerError, "new"),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_each_error_of_pika_becomes_ours_with_its_text(
    theirs: Exception, ours: type[BrokerError], text: str
) -> None:
    with pytest.raises(BrokerError) as caught, broker_errors():
        raise theirs
    assert type(caught.value) is ours
    assert text in str(caught.value)
