"""From a delivery to a pending request: strict parsing, and what the headers say of its past."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas import headers
from schemas.commands import PowerCommand, parse_command
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from workers.broker.delivery import Delivery
from workers.broker.failure_headers import with_failure

# All headers together must fit into one frame of 128 KiB, or the broker ends the connection.
_LONGEST_ERRORS = 65_536
# More than any request lives through; and it fits what the stores keep a round in.
_MOST = 1_000_000
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DeliveryHistory:
    """What a delivery's headers say: failed attempts, the round, how often it was parked."""

    attempt: int = 0
    round: int = 1
    parked: int = 0
    errors: tuple[Mapping[str, Any], ...] = ()

    def failed(self, cause: Cause, now: int) -> "DeliveryHistory":
        """The past after one more failed attempt; `now` in ns since the epoch."""
        errors = with_failure(self.errors, self.attempt + 1, cause, now)
        return replace(self, attempt=self.attempt + 1, errors=errors)

    def to_headers(self) -> dict[str, str | int]:
        """As it travels."""
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
        dry_run: whether nothing is done for it, but said what would be.
    """

    delivery: Delivery
    command: PowerCommand
    past: DeliveryHistory
    since: float
    dry_run: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Request id and round."""
        return self.command.id, self.past.round


def past_from(raw: Mapping[str, Any]) -> DeliveryHistory:
    """Read the headers; one that is missing or odd counts as never set."""

    def number(name: str, default: int) -> int:
        value = raw.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            return default  # a bool is an int to Python alone
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
    delivery: Delivery, cluster: str, is_dry: Callable[[str], bool] = lambda _node: False
) -> Pending:
    """The pending request a delivery carries.

    Args:
        delivery: it.
        cluster: whose requests we serve.
        is_dry: whether a node is in a dry run.

    Raises:
        MalformedMessageError: it carries none, or one of another cluster.
    """
    command = parse_command(delivery.body)
    if command.cluster != cluster:
        raise MalformedMessageError(
            "source", f"is cluster {command.cluster}, not {cluster}", "give each its own vhost"
        )
    past = past_from(delivery.headers)
    return Pending(delivery, command, past, time.monotonic(), is_dry(command.node))


def refusal(
    pending: Pending, nodes: Mapping[str, str], clock_ahead: float, now: int
) -> Cause | None:
    """Why a well-formed request cannot even be tried, or None.

    Args:
        pending: the request.
        nodes: each known node's group.
        clock_ahead: seconds that a generation may lie in the future.
        now: ns since the epoch.
    """
    command = pending.command
    if command.generation > now + int(clock_ahead * _NS):
        return Cause(
            "implausible_generation",
            f"generation {command.generation} lies {(command.generation - now) / _NS:.0f} s ahead; "
            f"mend the clock of {command.origin} and remove hooks.state/generation",
        )
    if command.node not in nodes:
        return Cause(
            "unknown_node",
            f"{command.node} is in no group of lamplighter.toml; add it, then replay",
        )
    return None
