"""Whole numbers in texts from outside: digits of ASCII only.

`int` also reads `1_000`, spaces, signs and the digits of all scripts, so that `4711_3` would be 47113.
"""

import re

_DIGITS = re.compile(r"[0-9]{1,19}")
# The stores keep times, generations and job ids in 64 bits: times until the year 2262.
MOST = 2**63 - 1


def whole_number(text: str, least: int = 0, most: int = MOST) -> int | None:
    """The number that a text consists of; None for any other text, or if it is out of range."""
    if _DIGITS.fullmatch(text) is None:
        return None
    number = int(text)
    return number if least <= number <= most else None
