"""What a webhook's response means, and when the next attempt is due. Pure."""

import random
import re
from dataclasses import dataclass
from typing import TypeAlias

from schemas.events import Cause
from workers.notify.webhook_request import printable
from workers.process.doubling import doubled

# The class of an attempt that got no response; its message is ours.
UNREACHABLE = "unreachable"
_FIRST = 1.0
_LONGEST = 600.0
# RFC 9110 and 6585: the request was valid and may be repeated.
_TEMPORARY = frozenset({408, 409, 425, 429})
_REDIRECT, _CLIENT_ERROR, _NOT_FOUND, _SERVER_ERROR = 300, 400, 404, 500
# OPUS's refusals of a job that has changed in the meantime, or was deleted: nothing is left to tell
# (uws_classes.py, Job.change_status; uws_server.py, job_event; storage.py, SQLAlchemyJobStorage.read).
_OPUS_SETTLED = (
    (_SERVER_ERROR, "while in terminal phase"),
    (_SERVER_ERROR, "Phase is already"),
    (_NOT_FOUND, "Job with process_id="),
)


@dataclass(frozen=True, slots=True)
class Response:
    """A webhook's response to one attempt; `status` is None if there was none.

    `text` is the beginning of the body, or what went wrong; untrusted. The webhook asks us to wait
    `retry_after` seconds.
    """

    status: int | None
    text: str = ""
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """The webhook accepted the notification; `text` says why it did not need it."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Retry after `seconds`; the webhook itself asked for `retry_after` seconds."""

    cause: Cause
    seconds: float
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """No more attempts: the notification becomes a dead letter."""

    cause: Cause


Verdict: TypeAlias = Delivered | RetryLater | Undeliverable


def judge(response: Response, *, attempt: int, left: float, opus: bool) -> Verdict:
    """Decide what happens to a notification after this `attempt`, counted from 1.

    It is given up in `left` seconds; `opus`: the webhook is an OPUS server.
    """
    status = response.status
    if status is not None and status < _REDIRECT:
        return Delivered()
    text = printable(_without_markup(response.text))
    if opus and any(status == code and words in response.text for code, words in _OPUS_SETTLED):
        return Delivered(text)
    cause = _cause(status, text)
    if status is not None and status < _SERVER_ERROR and status not in _TEMPORARY:
        return Undeliverable(cause)
    seconds = max(backoff(attempt), response.retry_after)
    return (
        RetryLater(cause, seconds, response.retry_after) if seconds < left else Undeliverable(cause)
    )


def backoff(attempt: int) -> float:
    """Seconds to wait after the n-th failed attempt: exponential, with jitter, at most ten minutes."""
    ceiling = doubled(_FIRST, attempt, _LONGEST)
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter


def _without_markup(text: str) -> str:
    """The text without HTML markup and styles, so that it begins with the message."""
    text = re.sub(r"<(style|script|title).*?</\1>", " ", text, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", text)


def _cause(status: int | None, text: str) -> Cause:
    if status is None:
        return Cause(UNREACHABLE, text)
    if status < _CLIENT_ERROR:
        return Cause(
            "redirect", f"HTTP {status}: redirects are not followed; configure the final address"
        )
    return Cause(f"http_{status}", f"HTTP {status}: {text}" if text else f"HTTP {status}")
