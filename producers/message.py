"""A message to publish, free of any AMQP library."""

from collections.abc import Callable, Mapping
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
    """Messages that belong together, and what to do once the broker has confirmed them all."""

    messages: list[Message]
    confirmed: Callable[[], None]
