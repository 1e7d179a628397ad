"""What a receiver's answer means, and when the next try is due. Pure."""

import random
import re
from dataclasses import dataclass
from typing import TypeAlias

from schemas.events import Cause
from workers.notify.webhook_request import tamed

_FIRST = 1.0
_LONGEST = 600.0
# RFC 9110 and 6585: the request was well, and may be tried again.
_PASSING = frozenset({408, 409, 425, 429})
_REDIRECTS, _REFUSALS, _TROUBLES = 300, 400, 500
# OPUS says so of a job that has ended by itself meanwhile (uws_classes.py, Job.change_status).
_OPUS_HAS_ENDED = "while in terminal phase"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP, or None where nothing came.
        words: the beginning of its body, or what went wrong; hostile.
        asked: seconds that it asks us to wait.
    """

    status: int | None
    words: str = ""
    asked: float = 0.0


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver has taken it; `words` where it had no use for it."""

    words: str = ""


@dataclass(frozen=True, slots=True)
class Again:
    """It is tried again after so many seconds; `asked` of them the receiver has asked for."""

    cause: Cause
    seconds: float
    asked: float = 0.0


@dataclass(frozen=True, slots=True)
class Dead:
    """It is given up."""

    cause: Cause


Verdict: TypeAlias = Taken | Again | Dead


def judge(answer: Answer, *, attempt: int, left: float, opus: bool) -> Verdict:
    """What becomes of a notification.

    Args:
        answer: to this try.
        attempt: which try it was, from 1.
        left: seconds until it is given up.
        opus: whether the receiver is an OPUS.
    """
    status = answer.status
    if status is not None and status < _REDIRECTS:
        return Taken()
    words = tamed(_plain(answer.words))
    if opus and status == _TROUBLES and _OPUS_HAS_ENDED in answer.words:
        return Taken(words)
    cause = _cause(status, words)
    if status is not None and status < _TROUBLES and status not in _PASSING:
        return Dead(cause)
    seconds = max(backoff(attempt), answer.asked)
    return Again(cause, seconds, answer.asked) if seconds < left else Dead(cause)


def backoff(attempt: int) -> float:
    """Seconds after the n-th failed try: doubled each time, with jitter, at most ten minutes."""
    ceiling = min(_FIRST * 2.0 ** min(attempt - 1, 30), _LONGEST)
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter


def _plain(words: str) -> str:
    """Without a page's markup and style, so that what it says comes first."""
    return re.sub(
        r"<[^>]*>", " ", re.sub(r"<(style|script|title).*?</\1>", " ", words, flags=re.DOTALL)
    )


def _cause(status: int | None, words: str) -> Cause:
    if status is None:
        return Cause("unreachable", words)
    if status < _REFUSALS:
        return Cause(
            "redirect", f"HTTP {status}: redirects are not followed; give the last address"
        )
    return Cause(f"http_{status}", f"HTTP {status}: {words}" if words else f"HTTP {status}")
