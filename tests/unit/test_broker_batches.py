"""Deliveries are passed on in batches, and not after a reconnection."""

from __future__ import annotations

from tests.testbed.deliveries import delivery
from workers.broker.batches import Batches


def test_batches_have_a_limited_size_and_keep_the_order() -> None:
    batches = Batches(2, 0.01)
    sent = [delivery(bytes([number])) for number in range(3)]
    for one in sent:
        batches.add(one)
    assert batches.next(1.0) == sent[:2]
    assert batches.next(1.0) == sent[2:]
    assert batches.next(0.0) == []


def test_reconnection_drops_what_waits() -> None:
    batches = Batches(2, 0.01)
    batches.add(delivery(b"old"))
    batches.reset(2)
    new = delivery(b"new")
    batches.add(new)
    assert batches.next(1.0) == [new]
