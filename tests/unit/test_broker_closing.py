"""The consumers and publishers of a channel that closes while they wait for the broker."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pika.exceptions import ChannelWrongStateError

from producers.message import Message
from workers.broker.consumers import Consumers
from workers.broker.publishing import PublishingChannel
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Channel:
    """A channel as pika has it: a call on one that is not open raises."""

    is_open: bool = True
    calls: list[str] = field(default_factory=list)
    found: Callable[[object], None] | None = None
    opened: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        user = SimpleNamespace(credentials=SimpleNamespace(username="power"))
        self.connection = SimpleNamespace(params=user, channel=self._open_another)

    def add_on_cancel_callback(self, callback: object) -> None:
        pass

    def add_on_close_callback(self, _: object) -> None:
        self._note("add_on_close_callback")

    def queue_declare(self, _: str, *, callback: Callable[[object], None], **__: object) -> None:
        self._note("queue_declare")
        self.found = callback

    def basic_qos(self, **_: object) -> None:
        self._note("basic_qos")

    def basic_consume(self, *_: object, **__: object) -> None:
        self._note("basic_consume")

    def add_on_return_callback(self, _: object) -> None:
        pass

    def confirm_delivery(self, _: object, *, callback: Callable[[object], None]) -> None:
        self._note("confirm_delivery")
        self.found = callback

    def basic_publish(self, *_: object, **__: object) -> None:
        self._note("basic_publish")

    def close(self) -> None:
        self._note("close")
        self.is_open = False

    def _open_another(self, on_open_callback: Callable[[Any], None]) -> None:
        self.opened = on_open_callback

    def _note(self, call: str) -> None:
        if not self.is_open:
            raise ChannelWrongStateError("Channel is closing.")
        self.calls.append(call)


@pytest.mark.parametrize("closes", ["nothing", "before it opens", "before the answer"])
def test_a_probe_whose_connection_closes_meanwhile_is_left_alone(closes: str) -> None:
    """The library logs what its callbacks raise, with a traceback, and drops the connection."""
    channel, probe = Channel(), Channel()
    Consumers(channel, 1, {"power.resume": 1}, lambda _: None).want(wanted=True)
    if closes == "before it opens":
        channel.is_open = probe.is_open = False
    assert channel.opened is not None
    channel.opened(probe)
    if closes == "before the answer":
        channel.is_open = probe.is_open = False
    if probe.found is not None:
        probe.found(None)
    consumed = "basic_consume" in channel.calls
    assert consumed is (closes == "nothing")
    assert ("close" in probe.calls) is consumed


@pytest.mark.parametrize("is_open", [True, False])
def test_what_waits_for_a_channel_that_closes_is_settled_and_not_published(
    *, is_open: bool
) -> None:
    channel, ready, future = Channel(), [], Future[None]()
    publishing = PublishingChannel(lambda: ready.append("ready"), lambda _: None)
    publishing.open(channel)
    publishing.publish(Message("events", "a.b", b"{}", "id"), "power", future)
    channel.is_open = is_open
    assert channel.found is not None
    channel.found(None)
    assert ("basic_publish" in channel.calls, ready == ["ready"]) == (is_open, is_open)
    publishing.fail()
    assert isinstance(future.exception(0), BrokerAwayError)
