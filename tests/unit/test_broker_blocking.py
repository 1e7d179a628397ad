"""A short connection to the broker, and our errors for the broker's problems."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

import pika
import pytest
from pika import exceptions
from pika.adapters.utils.connection_workflow import (
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorStackTimeout,
)

from producers.amqp import ConnectionParameters
from producers.broker_settings import BrokerSettings, BrokerUsers
from producers.publish import publish
from tests.testbed.waiting import until
from workers.broker.blocking import blocking_channel, broker_errors, connection_error
from workers.broker.link import Link
from workers.errors import (
    AccessRefusedError,
    BrokerAwayError,
    BrokerError,
    BrokerLoginError,
    NotDeclaredError,
    RefusedError,
)

if TYPE_CHECKING:
    from pathlib import Path


def parameters(*urls: str, timeout: float = 5.0) -> ConnectionParameters:
    return ConnectionParameters(BrokerSettings(urls), "test", timeout)


def _mismatch() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message, error.verify_code = "Hostname mismatch", 62
    return error


def test_a_silent_broker_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://a:b@127.0.0.1:{silent.getsockname()[1]}/v"
        with (
            pytest.raises(BrokerAwayError, match="does not answer"),
            blocking_channel(parameters(url, timeout=0.1)),
        ):
            pytest.fail("the broker is silent")


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1:1", "does not answer: start it"),
        ("nowhere.invalid", "nowhere.invalid is unknown: check broker.url"),
    ],
)
def test_a_broker_without_a_connection_is_away(tmp_path: Path, host: str, text: str) -> None:
    (tmp_path / "hook.password").touch(mode=0o600)
    (tmp_path / "hook.password").write_text("b")
    broker = BrokerSettings((f"amqp://{host}/v",), users=BrokerUsers(tmp_path))
    with (
        pytest.raises(BrokerAwayError, match=text),
        blocking_channel(ConnectionParameters(broker, "test")),
    ):
        pytest.fail("there is no broker")


CLUSTER = ("amqps://me:s3cr3t@rabbit1.example.org/v", "amqps://me:s3cr3t@typo.invalid/v")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (socket.gaierror(-2, "no name"), "host typo.invalid is unknown: check broker.urls and"),
        (_mismatch(), "the certificate is not for typo.invalid: .* own name in broker.urls"),
        (ConnectionRefusedError(), "does not answer: start it, or check broker.urls;"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_address_that_failed_is_named_and_the_key_that_has_it(
    error: Exception, text: str
) -> None:
    broker = BrokerSettings(CLUSTER)
    typo = pika.URLParameters(CLUSTER[1])
    words = str(connection_error(error, broker, typo))
    assert re.search(text, words), words
    assert "rabbit1" not in words
    assert "s3cr3t" not in words


def test_commands_hooks_and_workers_name_the_address_with_the_typing_error(tmp_path: Path) -> None:
    (tmp_path / "hook.password").touch(mode=0o600)
    (tmp_path / "hook.password").write_text("b")
    urls = ("amqp://127.0.0.1:1/v", "amqp://typo.invalid/v")
    given = ConnectionParameters(BrokerSettings(urls, users=BrokerUsers(tmp_path)), "test", 1.0)
    words = "host typo.invalid is unknown"
    with pytest.raises(BrokerAwayError, match=re.escape(words)), blocking_channel(given):
        pytest.fail("there is no broker")
    assert words in (publish(given, [], 3.0).problem or "")
    link = Link(given)
    link.start()
    until(lambda: words in (link.problem or ""), 10.0, "the reason")
    link.stop()


@pytest.mark.parametrize(
    ("theirs", "ours", "text"),
    [
        (exceptions.AMQPHeartbeatTimeout("late"), BrokerAwayError, "late"),
        (exceptions.ConnectionWrongStateError(), BrokerAwayError, "ConnectionWrongStateError"),
        (
            exceptions.ConnectionClosedByBroker(541, "INTERNAL_ERROR"),
            BrokerAwayError,
            "the broker closed the connection (INTERNAL_ERROR); its log says why",
        ),
        (exceptions.NackError([]), RefusedError, "is full or has no quorum"),
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


@pytest.mark.parametrize(
    ("theirs", "ours", "text"),
    [
        (exceptions.AMQPConnectionError(), BrokerAwayError, "check broker.url"),
        (
            exceptions.ProbableAuthenticationError("(403, refused)"),
            BrokerLoginError,
            "the broker refused the login of user 'me': correct the password in broker.url, or",
        ),
        (
            exceptions.ProbableAccessDeniedError("(530, refused for user 'me': vhost 'v' is down)"),
            BrokerLoginError,
            "virtual host 'v' is down at the broker: .*quorum, or run rabbitmqctl restart_vhost",
        ),
        (
            exceptions.ProbableAccessDeniedError("(530, no access)"),
            BrokerLoginError,
            "refused user 'me' access to virtual host 'v': .* set_permissions",
        ),
        (AMQPConnectorStackTimeout(), BrokerAwayError, "accepts the connection, but does not"),
        (
            AMQPConnectorAMQPHandshakeError(exceptions.ProbableAuthenticationError("(403, no)")),
            BrokerLoginError,
            "refused the login",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_failed_connect_is_explained_by_its_innermost_error(
    theirs: Exception, ours: type[BrokerError], text: str
) -> None:
    error = connection_error(theirs, BrokerSettings(("amqp://me:s3cr3t@h/v",)))
    assert type(error) is ours
    assert re.search(text, str(error))
    assert "s3cr3t" not in str(error)
