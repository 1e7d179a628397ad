"""A link on a real RabbitMQ consumes its queues again, whatever ended a consumer, and loses nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from producers.amqp import connection_parameters
from producers.message import Message
from tests.testbed.installation import Installation
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.backoff import Backoff
from workers.broker.blocking import blocking_channel
from workers.broker.declare import declare
from workers.broker.link import Link
from workers.broker.subscription import Phase
from workers.broker.topology import EVENTS, RESUME_QUEUE, SUSPEND_QUEUE
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.testbed.broker import Broker
    from workers.broker.delivery import Delivery

QUEUES = (RESUME_QUEUE, SUSPEND_QUEUE)


class Receiver:
    """A link that consumes two queues, and what it has received."""

    def __init__(self, site: Installation) -> None:
        self.arrived: queue.Queue[Delivery] = queue.Queue()
        self.connections: list[int] = []
        self.link = Link(
            connection_parameters(site.settings.broker, "test link"),
            dict.fromkeys(QUEUES, 100),
            on_delivery=self.arrived.put,
            on_up=self.connections.append,
        )

    def close(self) -> None:
        self.link.stop()

    def next(self) -> Delivery:
        return self.arrived.get(timeout=10)


@contextmanager
def receiving(site: Installation) -> Iterator[Receiver]:
    with closing(Receiver(site)) as receiver:
        receiver.link.start()
        assert receiver.link.wait_up(20)
        yield receiver


def delete(site: Installation, *names: str) -> None:
    with blocking_channel(connection_parameters(site.settings.broker, "test operator")) as channel:
        for name in names:
            channel.queue_delete(name)


def declare_again(site: Installation) -> None:
    with blocking_channel(connection_parameters(site.settings.broker, "test operator")) as channel:
        declare(channel, topology.topology())


def put(site: Installation, name: str, *bodies: bytes) -> None:
    site.publish([Message("", name, body, body.decode()) for body in bodies])


def phase(receiver: Receiver, name: str) -> Phase:
    """What the link does about a queue; the broker sees nothing of a wait."""
    session = receiver.link._session
    assert session is not None
    assert session.consumers is not None
    return session.consumers._subscriptions[name].phase


def consumed(site: Installation) -> None:
    """Wait until each queue has one consumer."""
    until(lambda: [site.consumers(q) for q in QUEUES] == [1, 1], 10, "a consumer of each queue")


def test_resume_at_once_after_a_pause_keeps_a_consumer_of_each_queue(site: Installation) -> None:
    with receiving(site) as receiver:
        consumed(site)
        for number in range(20):
            receiver.link.pause()
            receiver.link.resume()
            if number % 5 == 0:
                consumed(site)
        consumed(site)
        put(site, SUSPEND_QUEUE, b"one")
        one = receiver.next()
        receiver.link.pause()
        # a quorum queue counts a cancelled consumer until its last acknowledgement
        receiver.link.ack([one])
        until(lambda: not any(site.consumers(q) for q in QUEUES), 10, "no consumer")


def test_storm_of_pauses_from_many_threads_loses_no_message(site: Installation) -> None:
    bodies = [b"%d" % number for number in range(300)]
    with receiving(site) as receiver:

        def storm() -> None:
            for _ in range(50):
                receiver.link.pause()
                receiver.link.resume()

        threads = [threading.Thread(target=storm) for _ in range(4)]
        for thread in threads:
            thread.start()
        for name in QUEUES:
            put(site, name, *bodies)
        for thread in threads:
            thread.join()
        receiver.link.resume()
        seen: Counter[tuple[str, bytes]] = Counter()
        for _ in range(2 * len(bodies)):
            delivery = receiver.next()
            seen[delivery.queue, delivery.body] += 1
            receiver.link.ack([delivery])
        assert seen == Counter((name, body) for name in QUEUES for body in bodies)
        assert receiver.connections == [1]
        consumed(site)
    assert [site.depth(name) for name in QUEUES] == [0, 0]


def test_queue_that_is_declared_later_is_consumed_and_the_others_meanwhile(
    site: Installation,
) -> None:
    delete(site, RESUME_QUEUE)
    with receiving(site) as receiver:
        problem = f"does not consume {RESUME_QUEUE}: run lamplighter topology apply"
        until(lambda: receiver.link.problem == problem, 10, problem)
        put(site, SUSPEND_QUEUE, b"one")
        receiver.link.ack([receiver.next()])
        declare_again(site)
        consumed(site)
        until(lambda: receiver.link.problem is None, 10, "no problem")
        put(site, RESUME_QUEUE, b"two")
        assert receiver.next().body == b"two"
        assert receiver.connections == [1], "a missing queue must not cost the connection"


def test_deliveries_from_before_the_end_of_a_consumer_can_be_acknowledged_after_it(
    site: Installation,
) -> None:
    put(site, RESUME_QUEUE, b"deleted")
    put(site, SUSPEND_QUEUE, b"kept", b"other")
    with receiving(site) as receiver:
        held = {delivery.body: delivery for delivery in (receiver.next() for _ in range(3))}
        delete(site, RESUME_QUEUE)
        until(lambda: receiver.link.problem, 10, "the broker's cancel")
        declare_again(site)
        consumed(site)
        receiver.link.ack([held[b"deleted"], held[b"kept"], held[b"other"]])
        put(site, RESUME_QUEUE, b"new")
        assert receiver.next().body == b"new"
        assert receiver.arrived.empty()
        assert receiver.connections == [1]


def test_queue_that_the_user_may_not_read_is_tried_more_and_more_rarely(
    broker: Broker, vhost: str, site: Installation
) -> None:
    """The broker closes the channel of each attempt, although the queue exists."""
    user = broker.add_user(f"blind-{vhost}", "b", vhost)
    blind = Installation(site.folder / "blind", broker.amqp_url(vhost, user))
    with receiving(blind) as receiver:
        started = time.monotonic()
        until(lambda: len(receiver.connections) == 6, 30, "six attempts")
        # the waits are at least 0.1, 0.2, 0.4, 0.8 and 1.6 s
        assert time.monotonic() - started > 3.0


def test_link_that_may_no_longer_publish_connects_more_and_more_rarely(
    broker: Broker, vhost: str, site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections last until its next message needs the right, perhaps for seconds."""
    asked: list[Backoff] = []
    waits = Backoff.next

    def noted(backoff: Backoff) -> float:
        asked.append(backoff)
        return waits(backoff)

    monkeypatch.setattr(Backoff, "next", noted)
    user = broker.add_user(f"mute-{vhost}", "m", vhost, configure=".*", read=".*")
    mute = Installation(site.folder / "mute", broker.amqp_url(vhost, user))
    with receiving(mute) as receiver:
        for known in (1, 2, 3):
            assert receiver.link.wait_up(20)
            with pytest.raises(BrokerAwayError):
                receiver.link.publish(Message(EVENTS, "probe", b"{}", "1")).result(10)
            until(lambda: len(receiver.connections) > known, 20, "the next connection")  # noqa: B023 - at once
        assert asked == [receiver.link._refusals] * 3


def test_error_of_a_handler_does_not_end_the_link(site: Installation) -> None:
    put(site, RESUME_QUEUE, b"one")
    arrived: list[bool] = []

    def fail_once(delivery: Delivery) -> None:
        arrived.append(delivery.redelivered)
        if len(arrived) == 1:
            raise KeyError("an error")
        link.ack([delivery])

    parameters = connection_parameters(site.settings.broker, "test link")
    link = Link(parameters, {RESUME_QUEUE: 1}, on_delivery=fail_once)
    link.start()
    try:
        until(lambda: arrived == [False, True], 5, "a second delivery")
    finally:
        link.stop()
    assert site.depth(RESUME_QUEUE) == 0


def test_paused_link_does_not_consume_a_queue_that_returns(site: Installation) -> None:
    with receiving(site) as receiver:
        consumed(site)
        delete(site, RESUME_QUEUE)
        until(lambda: receiver.link.problem, 10, "the broker's cancel")
        receiver.link.pause()
        until(lambda: receiver.link.problem is None, 10, "the pause")
        declare_again(site)
        put(site, RESUME_QUEUE, b"one")
        until(lambda: phase(receiver, RESUME_QUEUE) is Phase.IDLE, 10, "the end of the wait")
        assert [site.consumers(name) for name in QUEUES] == [0, 0]
        receiver.link.resume()
        assert receiver.next().body == b"one"
        consumed(site)


def test_a_link_that_stops_while_it_connects_ends_at_once(site: Installation) -> None:
    """At any moment of it: before the address is known, during the handshake, and after."""
    for moment in range(20):
        link = Link(connection_parameters(site.settings.broker, "test link"))
        started = time.monotonic()
        link.start()
        time.sleep(moment / 2000)
        link.stop()
        assert time.monotonic() - started < 9, f"stopped after {moment / 2} ms"
