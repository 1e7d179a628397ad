"""A message received from the broker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that the broker delivered, and that waits for an acknowledgement.

    Attributes:
        connection: the number of the link's connection that received it.
        tag: its delivery tag on that connection.
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
