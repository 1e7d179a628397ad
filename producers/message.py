"""What is published and how it went, free of any AMQP library."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish.

    Attributes:
        id: the message_id, by which a returned message is recognised.
        mandatory: whether reaching no queue is an error.
        reply_to, correlation_id, expiration: for request-reply; expiration in milliseconds.
        persistent: whether the broker writes it to disk; never so for what holds a token.
    """

    exchange: str
    routing_key: str
    body: bytes
    id: str
    headers: Mapping[str, str | int] = field(default_factory=dict)
    mandatory: bool = True
    reply_to: str | None = None
    correlation_id: str | None = None
    expiration: int | None = None
    persistent: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that belong together; one of its two callables is called, once.

    Attributes:
        messages: read as they are sent.
        confirmed: what to do once the broker has confirmed them all.
        left: what to do, instead, with those that it did not take.
        seconds: how long it may take; None for as long as the whole publish.
    """

    messages: Iterable[Message]
    confirmed: Callable[[], None]
    left: Callable[[list[Message]], None] = lambda _: None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PublishResult:
    """How a publish ended.

    Attributes:
        problem: what went wrong first, in words; None when the broker has every batch.
        lost: whether the broker ended the connection or the channel in the midst of a batch,
            perhaps because of that batch: those behind it may fare better.
    """

    problem: str | None
    lost: bool
