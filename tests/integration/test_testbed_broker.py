"""The properties of the test bed's brokers that other tests rely on."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pika
import pika.exceptions
import psutil
import pytest

from tests.testbed.broker import PrivateBroker
from tests.testbed.broker_choice import ExistingBroker
from tests.testbed.management import Depth
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker


@pytest.fixture(scope="module")
def own_broker(session_dir: Path) -> Iterator[PrivateBroker]:
    """One private broker for the tests here that leave it unchanged."""
    with PrivateBroker(session_dir / "own") as server:
        yield server


def connect(url: str) -> pika.BlockingConnection:
    parameters = pika.URLParameters(url)
    parameters.blocked_connection_timeout = 2.0
    return pika.BlockingConnection(parameters)


def put(url: str, queue: str, body: bytes) -> None:
    """Publish one confirmed, persistent message to a quorum queue."""
    with connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
        channel.basic_publish("", queue, body, properties, mandatory=True)


def test_each_test_has_its_own_vhost(broker: Broker, vhost: str, broker_url: str) -> None:
    other = broker.create_vhost()
    try:
        put(broker_url, "jobs", b"hello")
        assert broker.ready_messages(vhost, "jobs") == 1
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
            broker.ready_messages(other, "jobs")
    finally:
        broker.delete_vhost(other)


def test_depths_count_ready_and_unacknowledged_messages_separately(
    broker: Broker, vhost: str, broker_url: str
) -> None:
    put(broker_url, "jobs", b"one")
    put(broker_url, "jobs", b"two")
    with connect(broker_url) as connection:
        connection.channel().basic_get("jobs")
        until(
            lambda: broker.api.depths(vhost)["jobs"] == Depth(ready=1, unacknowledged=1),
            15.0,
            "statistics of the queue",
        )


def test_users_have_only_the_permissions_they_were_given(
    broker: Broker, vhost: str, broker_url: str
) -> None:
    put(broker_url, "jobs", b"hello")
    reader = broker.add_user("reader", "a password / with @", vhost, read="^jobs$")
    with connect(broker.amqp_url(vhost, reader)) as connection:
        assert connection.channel().basic_get("jobs")[2] == b"hello"
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
            connection.channel().queue_declare("another")


def test_a_private_broker_listens_on_loopback_only(own_broker: PrivateBroker) -> None:
    listeners = own_broker.listeners()
    assert len(listeners) >= 4  # AMQP, management, Erlang's distribution, epmd
    assert {address for address, _ in listeners} <= {"127.0.0.1", "::1"}
    assert all(port < 32768 for _, port in listeners)


def test_confirmed_messages_survive_kill_9_and_restart(own_broker: PrivateBroker) -> None:
    url = own_broker.amqp_url(own_broker.create_vhost("jobs"))
    put(url, "jobs", b"hello")
    own_broker.settle()
    put(url, "jobs", b"again")
    own_broker.kill()
    assert not own_broker.accepts_connections()
    own_broker.start()
    put(url, "jobs", b"world")
    own_broker.restart()
    assert own_broker.ready_messages("jobs", "jobs") == 3


def test_a_memory_alarm_blocks_publishers_until_it_is_cleared(
    own_broker: PrivateBroker,
) -> None:
    url = own_broker.amqp_url("/")
    put(url, "jobs", b"before")
    own_broker.raise_memory_alarm()
    with pytest.raises(pika.exceptions.ConnectionBlockedTimeout):
        put(url, "jobs", b"during")
    own_broker.clear_memory_alarm()
    put(url, "jobs", b"after")


def test_close_leaves_nothing_running(private_broker: PrivateBroker) -> None:
    leaders = [psutil.Process(pid) for pid in private_broker.pids()]
    processes = leaders + [child for leader in leaders for child in leader.children(recursive=True)]
    assert {"epmd", "beam.smp"} <= {process.name() for process in processes}
    private_broker.close()
    assert psutil.wait_procs(processes, timeout=5)[1] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((private_broker.host, private_broker.port)).close()


def test_the_data_folder_contains_the_stored_messages(own_broker: PrivateBroker) -> None:
    put(own_broker.amqp_url("/"), "jobs", b"a secret in a message")
    files = [path for path in own_broker.data_dir.rglob("*") if path.is_file()]
    assert any(b"a secret in a message" in path.read_bytes() for path in files)


def test_an_existing_broker_gives_each_test_a_vhost_if_allowed(
    own_broker: PrivateBroker,
) -> None:
    url = own_broker.amqp_url("/")
    with closing(ExistingBroker(url, own_broker.management_url)) as existing:
        vhost = existing.create_vhost()
        put(existing.amqp_url(vhost), "jobs", b"hello")
        assert own_broker.ready_messages(vhost, "jobs") == 1
        existing.delete_vhost(vhost)
        assert own_broker.accepts_connections()  # "/" still exists


def test_without_the_management_api_all_tests_share_the_vhost_of_the_url(
    own_broker: PrivateBroker,
) -> None:
    vhost = own_broker.create_vhost()
    # Nothing listens on port 1.
    with closing(ExistingBroker(own_broker.amqp_url(vhost), "http://127.0.0.1:1")) as theirs:
        assert theirs.create_vhost() == vhost
        theirs.delete_vhost(vhost)
        put(theirs.amqp_url(vhost), "jobs", b"hello")
        assert f"all tests in vhost '{vhost}'" in theirs.description
    own_broker.delete_vhost(vhost)
