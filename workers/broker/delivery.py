"""A message received from the broker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.envelope import Envelope, parse
from schemas.errors import MalformedMessageError


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that the broker delivered, and that waits for an acknowledgement.

    Attributes:
        connection: the number of the link's connection that received it.
        tag: its delivery tag on that connection.
        exchange: where it was published last, by its sender or by the broker from a retry tier.
        sender: the broker user with whose authority it came; None if the broker knows none.
        refusal: why its sender may not say it; None if it may.
        content: the event, or why it cannot be read; None if it has not been read yet.
    """

    queue: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any]
    message_id: str | None
    user_id: str | None
    reply_to: str | None
    correlation_id: str | None
    redelivered: bool
    connection: int
    tag: int
    exchange: str = ""
    sender: str | None = None
    refusal: str | None = None
    content: Envelope | MalformedMessageError | None = None

    def envelope(self) -> Envelope:
        """The event that it carries; raises MalformedMessageError, naming the field and the remedy."""
        if isinstance(self.content, MalformedMessageError):
            raise self.content
        return self.content or parse(self.body)
