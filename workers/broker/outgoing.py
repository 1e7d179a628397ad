"""Events and commands as messages, and publishing with confirms."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from producers.message import Message
from schemas.commands import PowerCommand
from schemas.envelope import parse
from schemas.events import RequestEvent, event_from
from schemas.jobs import JobEvent
from schemas.notices import Notice
from schemas.registrations import Registration
from workers.broker import topology
from workers.broker.link import Link
from workers.errors import BrokerAwayError, BrokerError, RefusedError, UnroutableError

K = TypeVar("K")


def event(
    published: RequestEvent | JobEvent | Notice | Registration, body: bytes | None = None
) -> Message:
    """An event, for exchange power.events; `body` where it was written before."""
    routing_key = published.routing_key
    body = body or published.to_envelope().to_json()
    return Message(topology.EVENTS, routing_key, body, published.id)


def stored(body: bytes) -> tuple[RequestEvent, Message]:
    """A stored event, read and as a message; the audit ignores a second copy."""
    read = event_from(parse(body))
    return read, event(read, body)


def command(request: PowerCommand) -> Message:
    """A command for the power worker, for exchange power.commands."""
    body = request.to_envelope().to_json()
    return Message(topology.COMMANDS, request.kind.routing_key, body, request.id)


def publish_all(link: Link, messages: Iterable[Message], seconds: float) -> None:
    """Publish all at once, and wait for the confirms, `seconds` in total.

    Raises:
        BrokerError: the broker refused a message, is away, or has not confirmed all in time.
    """
    for error in publish_each(link, {None: list(messages)}, seconds).values():
        raise error


def publish_each(
    link: Link, messages: Mapping[K, Sequence[Message]], seconds: float
) -> dict[K, BrokerError]:
    """Publish all at once, and wait for the confirms, `seconds` in total.

    Returns:
        The keys with a message that was refused or reached no queue, and the error.

    Raises:
        BrokerAwayError: the connection ended, or the broker has not confirmed all in time.
    """
    published = [(key, link.publish(message)) for key, many in messages.items() for message in many]
    until = time.monotonic() + seconds
    refused: dict[K, BrokerError] = {}
    for key, future in published:
        try:
            future.result(max(0.0, until - time.monotonic()))
        except (RefusedError, UnroutableError) as error:
            refused[key] = error
        except TimeoutError:
            raise BrokerAwayError(f"no confirm within {seconds:g} s") from None
    return refused
