"""The headers for failed attempts and for the cause of a dead letter. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas import headers
from schemas.envelope import rfc3339
from schemas.events import Cause
from schemas.fields import fit

_KEPT = 20
_LONGEST = 500


def with_failure(
    errors: Sequence[Mapping[str, Any]], attempt: int, cause: Cause, now: int
) -> tuple[Mapping[str, Any], ...]:
    """The latest failed attempts, with one added; `now` in ns since the epoch."""
    entry = {
        "attempt": attempt,
        "time": rfc3339(now),
        "error": cause.error,
        "message": cause.message[:_LONGEST],
    }
    return (*errors, entry)[-_KEPT:]


def final_cause(queue: str, cause: Cause, now: int) -> dict[str, str]:
    """A dead letter's headers: in which queue, why and when it failed."""
    return {
        headers.DIED_IN: queue,
        headers.CAUSE: cause.error,
        # a cloud's message can hold lone surrogates, which a header cannot
        headers.CAUSE_MESSAGE: fit(cause.message).encode(errors="replace").decode(),
        headers.DIED_AT: rfc3339(now),
    }
