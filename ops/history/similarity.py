"""When two errors are the same trouble. Pure."""

import re

# What differs from one server or request to the next: ids in hex, then all other numbers.
_PARTICULAR = re.compile(
    r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}|0x[0-9a-fA-F]+|\d+"
)


def likeness(words: str) -> str:
    """The words of an error without what differs from one node or request to the next."""
    return _PARTICULAR.sub("#", words)
