"""The HTTP header Retry-After: how long to wait before the next request. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# A longer wait is a mistake of the server, and would stop us for good.
LONGEST = 3600.0


def requested_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, from 0 to LONGEST; None if the header is absent or cannot be read.

    RFC 9110, section 10.2.3: a number of seconds or a date. A date is compared with the response's own
    Date if it has one, because the server's clock can differ from ours. `headers` ignore case, like
    those of requests; `now` is in seconds since the epoch.
    """
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST)
    moment = http_date(value)
    if moment is None:
        return None
    since = http_date(headers.get("Date", "")) or datetime.fromtimestamp(now, UTC)
    return min(max((moment - since).total_seconds(), 0.0), LONGEST)


def http_date(value: str) -> datetime | None:
    """The time of a header such as Date, in UTC; None if it is not a time."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
