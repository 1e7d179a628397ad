"""A message received from the broker, and what its headers say of earlier attempts. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas import headers
from schemas.envelope import Envelope, parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from schemas.fields import loads
from workers.broker.failure_headers import with_failure

# All headers together must fit into one frame of 128 KiB, or the broker closes the connection.
_LONGEST_ERRORS = 65_536
# More than any request needs; and it fits the stores' column for rounds.
_MOST = 1_000_000


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


@dataclass(frozen=True, slots=True)
class DeliveryHistory:
    """What a delivery's headers say: failed attempts, the round, how often it was parked."""

    attempt: int = 0
    round: int = 1
    parked: int = 0
    errors: tuple[Mapping[str, Any], ...] = ()

    def failed(self, cause: Cause, now: int) -> "DeliveryHistory":
        """The history after one more failed attempt; `now` in ns since the epoch."""
        errors = with_failure(self.errors, self.attempt + 1, cause, now)
        return replace(self, attempt=self.attempt + 1, errors=errors)

    def to_headers(self) -> dict[str, str | int]:
        """As message headers."""
        return {
            headers.ATTEMPT: self.attempt,
            headers.ROUND: self.round,
            headers.PARKED: self.parked,
            headers.ERRORS: json.dumps(self.errors, separators=(",", ":")),
        }


def history_from(raw: Mapping[str, Any]) -> DeliveryHistory:
    """Read the headers; a missing or odd one counts as never set."""
    return DeliveryHistory(
        attempt=count_in(raw, headers.ATTEMPT, 0),
        round=count_in(raw, headers.ROUND, 1),
        parked=count_in(raw, headers.PARKED, 0),
        errors=_errors(raw.get(headers.ERRORS)),
    )


def count_in(raw: Mapping[str, Any], name: str, least: int) -> int:
    """A number among headers, or in one of their errors; `least` if it is missing or odd."""
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return least  # for Python, a bool is an int
    return value if least <= value <= _MOST else least


def _errors(text: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(text, str) or len(text) > _LONGEST_ERRORS:
        return ()
    try:
        errors = loads(text)
    except ValueError:
        return ()
    return tuple(e for e in errors if isinstance(e, dict)) if isinstance(errors, list) else ()
