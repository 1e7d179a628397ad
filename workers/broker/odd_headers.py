"""Reads of a message's properties what pika cannot.

pika ends the connection at a header without a value in Python, such as a time after the year 9999. The
broker would deliver it again at once, and one message would keep a worker from all others.
"""

import struct
from typing import Any

import pika.data

_SIZES = {b"T": 8, b"d": 8, b"f": 4}  # the other kinds that can fail begin with their length
_read_value = pika.data.decode_value
_read_text = pika.data.decode_short_string


def _value(encoded: bytes, offset: int) -> tuple[Any, int]:
    """A header's value and where it ends; None for a time, a number or a depth that Python has not."""
    try:
        found: tuple[Any, int] = _read_value(encoded, offset)
    except (ValueError, ArithmeticError, OSError, RecursionError):
        start = offset + 1
        size = _SIZES.get(encoded[offset:start])
        if size is None:
            size = 4 + struct.unpack_from(">I", encoded, start)[0]
        return None, start + size
    return found


def _text(encoded: bytes, offset: int) -> tuple[str, int]:
    """A short string and where it ends, with `?` for what is not UTF-8: pika leaves that as bytes."""
    text, end = _read_text(encoded, offset)
    if isinstance(text, bytes):
        text = text.decode("latin-1").encode("ascii", "replace").decode()
    return text, end


def accept() -> None:
    """Let pika read with these; it has no other place for that."""
    pika.data.decode_value = _value
    pika.data.decode_short_string = _text
