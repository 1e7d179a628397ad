"""RabbitMQ 4 in a container of testcontainers, also if its image must be built here."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pika
import pytest

from tests.testbed.broker_choice import container
from tests.testbed.docker import RABBITMQ, docker_engine, ensure_image
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.declare import declare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.testbed.broker import Broker

pytestmark = [
    pytest.mark.docker,
    # The first run installs the engine and builds the image.
    pytest.mark.timeout(600),
    # testcontainers' RabbitMQ module uses an API that testcontainers deprecates.
    pytest.mark.filterwarnings("ignore:The @wait_container_is_ready decorator:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def rabbitmq_4() -> Iterator[Broker]:
    with docker_engine() as engine, pytest.MonkeyPatch.context() as patch:
        ensure_image(engine, RABBITMQ)
        for name, value in engine.environment.items():
            patch.setenv(name, value)
        with container() as broker:
            yield broker


def test_the_broker_is_version_4(rabbitmq_4: Broker) -> None:
    assert rabbitmq_4.api.version().startswith("4.")


def test_the_topology_can_be_declared_twice(rabbitmq_4: Broker) -> None:
    vhost = rabbitmq_4.create_vhost()
    with closing(pika.BlockingConnection(pika.URLParameters(rabbitmq_4.amqp_url(vhost)))) as link:
        for _ in range(2):
            declare(link.channel(), topology.topology())
    assert set(rabbitmq_4.api.depths(vhost)) == {q.name for q in topology.topology().queues}


def test_a_request_returns_from_a_retry_tier_to_its_work_queue(rabbitmq_4: Broker) -> None:
    vhost = rabbitmq_4.create_vhost()
    with closing(pika.BlockingConnection(pika.URLParameters(rabbitmq_4.amqp_url(vhost)))) as link:
        channel = link.channel()
        declare(channel, topology.topology())
        channel.confirm_delivery()
        channel.basic_publish("power.retry.5s", "node.resume.requested", b"request", mandatory=True)
    until(
        lambda: rabbitmq_4.ready_messages(vhost, topology.RESUME_QUEUE) == 1,
        15.0,
        "the request in its work queue",
    )
