"""A link that is stopped while it connects ends without noise, whatever the peer does then."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from producers.amqp import connection_parameters
from producers.broker_settings import BrokerSettings
from tests.testbed.waiting import until
from workers.broker.link import Link
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_link_that_stops_while_the_peer_ends_the_handshake_logs_no_failure(
    peer: socket.socket, tmp_path: Path
) -> None:
    """The library then fails an assertion of its own."""
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("secret")
    host, port = peer.getsockname()
    settings = BrokerSettings((f"amqp://me@{host}:{port}/v",), password)
    link = Link(connection_parameters(settings, "test"))
    with capture_logs() as logs:
        link.start()
        connection, _ = peer.accept()
        with connection:
            connection.recv(8)  # AMQP's header: now the handshake is under way
            stopping = threading.Thread(target=link.stop)
            stopping.start()
            until(lambda: link._connection is None or link._connection.is_closing, 5, "its end")
        stopping.join(10)
    assert not stopping.is_alive()
    assert [line["event"] for line in logs] == []


def test_what_a_link_waits_for_is_not_said_by_a_command_that_has_given_up(tmp_path: Path) -> None:
    """It said that the broker is unavailable: waits for the broker: the broker does not answer."""
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("secret")
    link = Link(connection_parameters(BrokerSettings(("amqp://me@127.0.0.1:1/v",), password), "t"))
    link.start()
    try:
        until(lambda: link.problem and "does not answer" in link.problem, 20, "the first failure")
        with pytest.raises(BrokerAwayError, match=r"^the broker does not answer: start it"):
            link.prove_consuming(0.0)
    finally:
        link.stop()
