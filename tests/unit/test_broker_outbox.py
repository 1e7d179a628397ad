"""A delivery is acknowledged once the broker has confirmed all that was published for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.message import Message
from tests.testbed.deliveries import RecordingLink, delivery, outbox_on
from workers.broker import outgoing as module
from workers.errors import BrokerAwayError, RefusedError, UnroutableError

if TYPE_CHECKING:
    from workers.broker.outgoing import Outbox


def message(name: str = "one") -> Message:
    return Message("power.events", "node.request.completed", b"", name)


@pytest.fixture
def link() -> RecordingLink:
    return RecordingLink()


@pytest.fixture
def outbox(link: RecordingLink, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(module, "_RESEND", 0.0)
    return outbox_on(link)


def test_a_delivery_is_acknowledged_once_its_last_message_is_confirmed(
    outbox: Outbox, link: RecordingLink
) -> None:
    come = delivery()
    outbox.send(come, [message()])
    outbox.finish(come, [message("two"), message("three")])
    for position in (2, 0):
        link.answer(position)
        assert link.acked == []
    link.answer(1)
    assert link.acked == [come]


def test_confirms_alone_do_not_acknowledge_a_delivery_that_goes_on(
    outbox: Outbox, link: RecordingLink
) -> None:
    come = delivery()
    outbox.send(come, [message()])
    link.answer_all()
    assert link.acked == []
    outbox.finish(come, [])
    assert link.acked == [come]


@pytest.mark.parametrize("refusal", [RefusedError("full"), UnroutableError("no queue")])
def test_a_refused_message_is_sent_again_until_the_broker_takes_it(
    outbox: Outbox, link: RecordingLink, refusal: RefusedError | UnroutableError
) -> None:
    come = delivery()
    outbox.finish(come, [message()])
    for position in (0, 1):
        link.answer(position, refusal)
        assert link.acked == []
        outbox.resend()
    link.answer(2)
    assert link.acked == [come]
    assert link.published == [message()] * 3


def test_a_refused_message_is_sent_again_only_after_a_second(link: RecordingLink) -> None:
    outbox = outbox_on(link)
    outbox.finish(delivery(), [message()])
    link.answer(0, RefusedError("full"))
    began = time.monotonic()
    outbox.resend()
    assert len(link.published) == 1 or time.monotonic() - began >= 1.0


def test_a_message_that_is_lost_with_the_connection_is_dropped_with_its_delivery(
    outbox: Outbox, link: RecordingLink
) -> None:
    """The broker delivers the request again, and its messages are published then."""
    come = delivery()
    outbox.finish(come, [message(), message("two")])
    link.answer(0, BrokerAwayError("gone"))
    link.answer(1)
    outbox.resend()
    assert link.acked == []
    assert len(link.published) == 2


def test_a_new_connection_drops_what_came_over_the_old_one(
    outbox: Outbox, link: RecordingLink
) -> None:
    old, new = delivery(connection=1), delivery(connection=2)
    outbox.finish(old, [message("old")])
    outbox.finish(new, [message("new")])
    outbox.forget_before(2)
    link.answer_all()
    assert link.acked == [new]


def test_a_refused_message_is_not_sent_again_once_its_delivery_comes_again(
    outbox: Outbox, link: RecordingLink
) -> None:
    """Otherwise the request would arrive twice: once resent, once redelivered."""
    outbox.finish(delivery(connection=1), [message()])
    link.answer(0, RefusedError("full"))
    outbox.forget_before(2)
    outbox.resend()
    assert len(link.published) == 1


@pytest.mark.parametrize("error", [RefusedError("full"), BrokerAwayError("gone")])
def test_an_alarm_is_sent_until_the_broker_takes_it_though_it_has_no_delivery(
    outbox: Outbox, link: RecordingLink, error: RefusedError | BrokerAwayError
) -> None:
    outbox.tell(message("alarm"))
    link.answer(0, error)
    outbox.forget_before(2)
    outbox.resend()
    assert link.published == [message("alarm")] * 2
    link.answer(1)
    outbox.resend()
    assert len(link.published) == 2


def test_the_same_tag_of_another_connection_is_another_delivery(
    outbox: Outbox, link: RecordingLink
) -> None:
    first = delivery(connection=1)
    second = delivery(connection=2)
    object.__setattr__(second, "tag", first.tag)
    outbox.finish(first, [message()])
    outbox.finish(second, [message()])
    link.answer(1)
    assert link.acked == [second]


@given(st.data())
def test_each_delivery_is_acknowledged_once_and_last_in_any_order_of_answers(
    data: st.DataObject,
) -> None:
    link = RecordingLink()
    outbox = outbox_on(link)
    comes = [delivery() for _ in range(3)]
    owners = []
    for come in comes:
        outbox.send(come, [message()])
        outbox.finish(come, [message(), message()])
        owners += [come] * 3
    left = {id(come): 3 for come in comes}
    for position in data.draw(st.permutations(range(9))):
        link.answer(position)
        left[id(owners[position])] -= 1
        assert {id(d) for d in link.acked} == {key for key, count in left.items() if count == 0}
    assert len(link.acked) == 3
