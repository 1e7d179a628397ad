"""Messages, batches and the result of publishing them, independent of an AMQP library."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish.

    Attributes:
        id: the message_id, which identifies a returned message.
        mandatory: whether a message that reaches no queue is an error.
        reply_to, correlation_id, expiration: for request-reply; expiration in milliseconds.
        persistent: whether the broker writes it to disk; False for a message that holds a token.
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
    """Messages that belong together; one of its two callbacks is called, once.

    Attributes:
        messages: read while they are sent.
        confirmed: called when the broker has confirmed all messages.
        left: called otherwise, with the messages that the broker did not accept.
        seconds: the time limit; None for the limit of the whole publish.
    """

    messages: Iterable[Message]
    confirmed: Callable[[], None]
    left: Callable[[list[Message]], None] = lambda _: None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The result of a publish.

    Attributes:
        problem: the first problem; None if the broker has accepted every batch.
        lost: whether the broker closed the connection or the channel during a batch, perhaps because
            of that batch: the batches after it may succeed.
    """

    problem: str | None
    lost: bool
