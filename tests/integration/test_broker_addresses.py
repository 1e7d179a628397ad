"""Several addresses, rotated passwords and refused messages: connections recover by themselves."""

from __future__ import annotations

import socket
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ops.cli.session import Session
from ops.console.reader import SiteReader
from producers.amqp import ConnectionParameters, connection_parameters
from producers.broker_settings import BrokerSettings
from producers.message import Message
from tests.testbed.controller import IN_TIME, Controller
from tests.testbed.installation import Installation
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.broker.link import Link
from workers.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker, PrivateBroker, User


@pytest.fixture
def hung() -> Iterator[str]:
    """The address of a broker whose process was stopped: the kernel accepts, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def swallowing() -> Iterator[str]:
    """An address that swallows SYNs: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for one in waiting:
            one.close()


@contextmanager
def linked(
    parameters: ConnectionParameters, queues: dict[str, int] | None = None
) -> Iterator[Link]:
    link = Link(parameters, queues)
    link.start()
    try:
        yield link
    finally:
        link.stop()


def addresses(broker: Broker, vhost: str, *bad: str) -> list[str]:
    """The bad addresses, and then the good one."""
    good = broker.amqp_url(vhost)
    return [*(good.replace(f"{broker.host}:{broker.port}", place) for place in bad), good]


def test_bad_addresses_cost_a_hook_only_a_part_of_its_time(
    broker: Broker, vhost: str, run_dir: Path, hung: str, swallowing: str
) -> None:
    urls = addresses(broker, vhost, hung, swallowing)
    controller = Controller(Installation(run_dir / "site", *urls))
    controller.site.make_hook_folders()
    controller.site.prepare()
    done = controller.hook("resume", "node[1-3]")
    assert (done.code, controller.left()) == (0, [])
    assert done.seconds < IN_TIME
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1", "node2", "node3"]


def test_hook_without_a_good_address_ends_in_time_and_names_all(
    run_dir: Path, hung: str, swallowing: str
) -> None:
    urls = [f"amqp://u:p@{place}/v" for place in (hung, swallowing, "127.0.0.1:1")]
    controller = Controller(Installation(run_dir / "site", *urls))
    controller.site.make_hook_folders()
    done = controller.hook("resume", "node1")
    assert (done.code, controller.left()) == (0, ["node1"])
    assert done.seconds < IN_TIME
    for place in (hung, swallowing, "127.0.0.1:1"):
        assert f"{place}: " in controller.log


def test_workers_and_commands_try_the_next_address(
    broker: Broker, vhost: str, run_dir: Path, hung: str, swallowing: str
) -> None:
    site = Installation(
        run_dir / "site", *addresses(broker, vhost, "127.0.0.1:1", hung, swallowing)
    )
    began = time.monotonic()
    site.prepare()
    with linked(connection_parameters(site.settings.broker, "test")) as link:
        assert link.wait_up(10)
    assert time.monotonic() - began < 20
    # again where the broker is slow to confirm a consumer: it is said to have no quorum then
    until(lambda: site.lamplighter("topology", "check").code == 0, 60, "no differences")


@pytest.fixture
def rotated(broker: Broker, vhost: str, tmp_path: Path) -> tuple[User, Path, BrokerSettings]:
    """A user whose password is in a file, that file, and settings that name it."""
    user = broker.add_user(f"worker-{vhost}", "old", vhost, configure=".*", write=".*", read=".*")
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text("old")
    url = f"amqp://{user.name}@{broker.host}:{broker.port}/{vhost}"
    return user, file, BrokerSettings((url,), file)


def test_rotated_password_is_used_at_the_next_connect(
    broker: Broker, rotated: tuple[User, Path, BrokerSettings]
) -> None:
    user, file, settings = rotated
    with linked(connection_parameters(settings, "test")) as link:
        assert link.wait_up(10)
        broker.api.put_user(user.name, "new")
        until(lambda: broker.api.close_connections() or None, 15, "a connection in the statistics")
        refused = f"the broker refused the login of user '{user.name}'"
        until(lambda: refused in (link.problem or ""), 15, refused)
        assert str(file) in (link.problem or "")
        assert "old" not in (link.problem or "").split()
        file.unlink()
        until(lambda: "broker.password_file" in (link.problem or ""), 15, "a missing file")
        file.touch(mode=0o600)
        file.write_text("new\n")
        assert link.wait_up(15)
    with blocking_channel(ConnectionParameters(settings, "test")) as channel:
        assert channel.is_open


def test_refused_message_is_accepted_by_a_later_channel_without_a_new_connection(
    site: Installation,
) -> None:
    """RabbitMQ can go on to refuse all messages of a channel that it refused one of."""
    parameters = connection_parameters(site.settings.broker, "test")
    arguments = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    with blocking_channel(parameters) as channel, linked(parameters) as link:
        channel.queue_declare("small", durable=True, arguments=arguments)
        assert link.wait_up(10)

        def send() -> BaseException | None:
            return link.publish(Message("", "small", b"x", "id")).exception(10)

        until(lambda: isinstance(send(), RefusedError), 10, "a full queue")
        first = link._session
        channel.queue_purge("small")
        until(lambda: send() is None, 10, "an accepted message")
        assert link._session is first
        channel.queue_delete("small")


def test_alarm_and_missing_workers_are_said_by_status_and_console(
    run_dir: Path, private_broker: PrivateBroker
) -> None:
    url = private_broker.amqp_url(private_broker.create_vhost())
    site = Installation(run_dir / "site", url)
    site.prepare()
    done = site.lamplighter("status")
    assert (done.code, "workers not running: audit, power, tokens" in done.out) == (1, True)
    private_broker.raise_memory_alarm()
    done = site.lamplighter("status")
    assert done.code == 3, done
    assert "the broker accepts no messages" in done.err
    with closing(SiteReader(Session(site.config))) as console:
        until(lambda: "the broker accepts no messages" in str(console.read().problems), 30, "it")
        for _ in range(3):  # while it looks again, too
            assert "the broker accepts no messages" in str(console.read().problems)
