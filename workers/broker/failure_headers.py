"""What has failed of a message, and what it died of, as its headers say it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas import headers
from schemas.envelope import rfc3339
from schemas.events import Cause

_KEPT = 20
_LONGEST = 500


def with_failure(
    errors: Sequence[Mapping[str, Any]], attempt: int, cause: Cause, now: int
) -> tuple[Mapping[str, Any], ...]:
    """The failed attempts after one more, the latest ones; `now` in ns since the epoch."""
    entry = {
        "attempt": attempt,
        "time": rfc3339(now),
        "error": cause.error,
        "message": cause.message[:_LONGEST],
    }
    return (*errors, entry)[-_KEPT:]


def final_cause(queue: str, cause: Cause, now: int) -> dict[str, str]:
    """The headers that tell of a dead letter where, of what and when it died."""
    return {
        headers.DIED_IN: queue,
        headers.CAUSE: cause.error,
        # a cloud's words may be no UTF-8, which no header can carry
        headers.CAUSE_MESSAGE: cause.message.encode(errors="replace").decode(),
        headers.DIED_AT: rfc3339(now),
    }
