"""Retry-After: at most an hour, reckoned from the Date of the response."""

from __future__ import annotations

import pytest
from requests.structures import CaseInsensitiveDict

from workers.process.retry_after import LONGEST, requested_wait

# Fri, 02 Jan 2026 03:04:05 GMT
NOW = 1_767_323_045.0


@pytest.mark.parametrize(
    ("value", "date", "wait"),
    [
        ("120", None, 120.0),
        ("0", None, 0.0),
        ("999999999", None, LONGEST),
        ("9" * 400, None, LONGEST),
        ("Fri, 02 Jan 2026 03:04:35 GMT", None, 30.0),
        ("Fri, 02 Jan 2026 03:04:35 -0000", None, 30.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT", "Fri, 02 Jan 2026 03:04:25 GMT", 10.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT", "yesterday", 30.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", None, 0.0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", None, LONGEST),
        ("Wed, 99 Foo", None, None),
        ("-5", None, None),
        ("٣", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_at_most_an_hour(
    value: str | None, date: str | None, wait: float | None
) -> None:
    named = {"retry-after": value, "date": date}
    headers = CaseInsensitiveDict({name: text for name, text in named.items() if text is not None})
    assert requested_wait(headers, NOW) == wait
