"""No header, key or property of a message keeps a link from the messages after it."""

from __future__ import annotations

import queue
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika
import pytest

from producers.amqp import connection_parameters
from schemas import headers
from schemas.envelope import Envelope
from tests.testbed.installation import CLUSTER, Installation
from workers.broker.blocking import blocking_channel
from workers.broker.link import Link
from workers.broker.roles import NOT_ALLOWED
from workers.broker.sender_check import SenderCheck
from workers.broker.topology import AUDIT_QUEUE, EVENTS, RESUME_QUEUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.broker.delivery import Delivery

ATTEMPT = bytes([len(headers.ATTEMPT)]) + headers.ATTEMPT.encode() + b"I" + struct.pack(">i", 7)


class RawHeaders(pika.BasicProperties):  # type: ignore[misc]  # pika has no types
    """The header `x` with this value, as bytes, and our header for attempts after it."""

    def __init__(self, value: bytes) -> None:
        super().__init__(headers={})
        self.table = b"\x01x" + value + ATTEMPT

    def encode(self) -> list[bytes]:
        return [struct.pack(">HI", self.FLAG_HEADERS, len(self.table)), self.table]


def nested(kind: bytes, start: bytes, depth: int) -> bytes:
    """A list of one list, and so on; or a table of one table."""
    value = b"V"
    for _ in range(depth):
        value = kind + struct.pack(">I", len(start + value)) + start + value
    return value


ODD = {
    "a time after the year 9999": b"T" + struct.pack(">Q", 253_402_300_800),
    "a time that no clock has": b"T" + struct.pack(">Q", 2**64 - 1),
    "lists in lists": nested(b"A", b"", 5000),
    "tables in tables": nested(b"F", b"\x01x", 5000),
    "bytes that are no text": b"S" + struct.pack(">I", 2) + b"\xff\xfe",
    "the least decimal": b"D\xff" + struct.pack(">i", -1),
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_link_reads_a_message_with_any_header(site: Installation, value: bytes) -> None:
    """It is delivered once, with the headers that can be read, and the connection stays."""
    parameters = connection_parameters(site.settings.broker, "test")
    arrived: queue.Queue[Delivery] = queue.Queue()
    with receiving(Link(parameters, {RESUME_QUEUE: 10}, arrived.put)):
        with blocking_channel(parameters) as channel:
            channel.basic_publish("", RESUME_QUEUE, b"odd", RawHeaders(value))
            channel.basic_publish("", RESUME_QUEUE, b"next")
        odd, following = arrived.get(timeout=20), arrived.get(timeout=20)
    assert (odd.body, following.body) == (b"odd", b"next")
    assert odd.headers[headers.ATTEMPT] == 7
    assert odd.connection == following.connection == 1


def test_names_that_are_no_text_are_refused_as_any_other(site: Installation) -> None:
    """A key or an ID that is not UTF-8: its sender may not say it; the connection stays."""
    parameters = connection_parameters(site.settings.broker, "test")
    arrived: queue.Queue[Delivery] = queue.Queue()
    check = SenderCheck(site.settings, arrived.put)
    check.link = Link(parameters, {AUDIT_QUEUE: 10}, check.receive)
    body = Envelope("id", CLUSTER, "lamplighter.job.failed.v1", "1", 1, "t", {}).to_json()
    with receiving(check.link), blocking_channel(parameters) as channel:
        odd = pika.BasicProperties(message_id=b"\xff" * 255, correlation_id=b"\xfe")
        channel.basic_publish(EVENTS, b"job.failed\xff", body, odd)
        found = arrived.get(timeout=20)
        alarm = arrived.get(timeout=20)
    assert (found.routing_key, found.correlation_id) == ("job.failed?", "?")
    assert found.refusal is not None
    assert (alarm.routing_key, alarm.connection) == (NOT_ALLOWED, 1)


@contextmanager
def receiving(link: Link) -> Iterator[None]:
    link.start()
    try:
        assert link.wait_up(20)
        yield
    finally:
        link.stop()
