"""Decides whether two error messages have the same cause. Pure."""

import re

# Parts that differ from one server or request to the next: hexadecimal ids, then all numbers.
_VARIABLE = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}|0x[0-9a-fA-F]+|\d+")


def error_pattern(message: str) -> str:
    """The message without the parts that differ from one node or request to the next."""
    return _VARIABLE.sub("#", message)
