"""What is sent, as the broker gets it: events and commands, each made in one way; and confirmed."""

import time
from collections.abc import Iterable

from producers.message import Message
from schemas.commands import PowerCommand
from schemas.envelope import parse
from schemas.events import Notice, RequestEvent, event_from
from schemas.jobs import JobEvent
from schemas.registrations import Registration
from workers.broker import topology
from workers.broker.link import Link
from workers.errors import BrokerAwayError


def event(told: RequestEvent | JobEvent | Notice | Registration) -> Message:
    """An event for exchange power.events."""
    return Message(topology.EVENTS, told.routing_key, told.to_envelope().to_json(), told.id)


def stored(body: bytes) -> tuple[RequestEvent, Message]:
    """The event that stands in the store, read and ready to publish; a second copy folds in the audit."""
    told = event_from(parse(body))
    return told, Message(topology.EVENTS, told.routing_key, body, told.id)


def command(asked: PowerCommand) -> Message:
    """A request on its way to a power worker."""
    body = asked.to_envelope().to_json()
    return Message(topology.COMMANDS, asked.kind.routing_key, body, asked.id)


def publish_all(link: Link, messages: Iterable[Message], seconds: float) -> None:
    """Publish, all at once, and wait for the confirms, so many seconds for all of them.

    Raises:
        BrokerError: the broker has refused one, is away, or has not confirmed all in time.
    """
    published = [link.publish(message) for message in messages]
    until = time.monotonic() + seconds
    for future in published:
        try:
            future.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            raise BrokerAwayError(f"no confirm within {seconds:g} s") from None
