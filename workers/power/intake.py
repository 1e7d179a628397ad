"""From a delivery to a pending request: strict parsing, and its history from the headers."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas import headers
from schemas.commands import PowerCommand, command_from
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from workers.broker.delivery import Delivery
from workers.broker.failure_headers import with_failure
from workers.store.requests import RoundKey

# All headers together must fit into one frame of 128 KiB, or the broker closes the connection.
_LONGEST_ERRORS = 65_536
# slurmctld writes its state up to 5 s after a change: one that was killed before has forgotten its
# call. A call that comes later than this (seconds) may be such a one.
PROMPT = 10.0
# More than any request needs; and it fits the stores' column for rounds.
_MOST = 1_000_000


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


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits for its outcome.

    Attributes:
        since: monotonic seconds of its delivery.
        rested: whether it came late, or again: slurmctld may not know of it any more.
        dry_run: whether nothing is done for it; only what would be done is reported.
        id: the request's id.
        key: request id and round.
    """

    delivery: Delivery
    command: PowerCommand
    history: DeliveryHistory
    since: float
    dry_run: bool = False
    rested: bool = False
    id: str = field(init=False)
    key: RoundKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.command.id)
        object.__setattr__(self, "key", (self.id, self.history.round))


def history_from(raw: Mapping[str, Any]) -> DeliveryHistory:
    """Read the headers; a missing or odd one counts as never set."""

    def number(name: str, default: int) -> int:
        value = raw.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            return default  # for Python, a bool is an int
        return value if default <= value <= _MOST else default

    return DeliveryHistory(
        attempt=number(headers.ATTEMPT, 0),
        round=number(headers.ROUND, 1),
        parked=number(headers.PARKED, 0),
        errors=_errors(raw.get(headers.ERRORS)),
    )


def _errors(text: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(text, str) or len(text) > _LONGEST_ERRORS:
        return ()
    try:
        errors = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return tuple(e for e in errors if isinstance(e, dict)) if isinstance(errors, list) else ()


def read(
    delivery: Delivery, cluster: str, at: int, is_dry: Callable[[str], bool] | None = None
) -> Pending:
    """The request that a delivery carries.

    Args:
        delivery: the delivery.
        cluster: whose requests we serve.
        at: when it came (ns since the epoch).
        is_dry: whether a node is in a dry run; None if none is.

    Raises:
        MalformedMessageError: it carries none, or one of another cluster.
    """
    command = command_from(delivery.envelope())
    if command.cluster != cluster:
        raise MalformedMessageError(
            "source", f"is cluster {command.cluster}, not {cluster}", "give each its own vhost"
        )
    history = history_from(delivery.headers)
    kept = replace(delivery, content=None)  # many wait: their content is in the command
    dry_run = is_dry is not None and is_dry(command.node)
    again = delivery.redelivered or history.parked > 0 or history.attempt > 0
    rested = again or at - command.generation > PROMPT * 1e9
    return Pending(kept, command, history, time.monotonic(), dry_run, rested)
