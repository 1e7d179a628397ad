"""Retry-After: how long an answer asks us to stay away. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Whoever asks for more has made a mistake, and we would be gone for good.
LONGEST = 3600.0


def wait_asked(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, from 0 to LONGEST; None where it does not ask, or in no words that are known.

    RFC 9110, section 10.2.3: a number of seconds or a moment. A moment is reckoned from the answer's own
    Date where it has one: their clock and ours may differ.

    Args:
        headers: whose names know no case, as those of requests.
        now: seconds since the epoch.
    """
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST)
    moment = _moment(value)
    if moment is None:
        return None
    since = _moment(headers.get("Date", "")) or datetime.fromtimestamp(now, UTC)
    return min(max((moment - since).total_seconds(), 0.0), LONGEST)


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
