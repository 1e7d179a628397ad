"""Types of options: each reads a text, or says what to write instead."""

import re
import time
from datetime import UTC, datetime

import click

from producers.call import expand
from schemas.errors import MalformedMessageError

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_NS = 1_000_000_000
_LONGEST_NAME = 255


def length(text: str) -> int:
    """A length of time, such as 90s, 15m, 2h, 3d: nanoseconds.

    Raises:
        click.BadParameter: it is none.
    """
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no length of time; write 90s, 15m, 2h or 3d")
    return int(float(found[1]) * _SECONDS[found[2]] * _NS)


def when(text: str) -> int:
    """A moment, in ISO 8601 (UTC unless it says otherwise) or as a length of time ago.

    Returns:
        Nanoseconds since the epoch.

    Raises:
        click.BadParameter: it is none.
    """
    if _LENGTH.fullmatch(text.strip()):
        return time.time_ns() - length(text)
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(aware.timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no time; write 2026-11-24T08:30:00Z, or 2h for two hours ago"
        ) from None


def image_name(text: str) -> str:
    """An image's name, as Nova takes it.

    Raises:
        click.BadParameter: it is none.
    """
    if not text.isprintable() or not 1 <= len(text) <= _LONGEST_NAME or text != text.strip():
        raise click.BadParameter(
            f"{text[:40]!r}... is no image's name; write 1 to {_LONGEST_NAME} printable characters"
        )
    return text


def hostlist(text: str) -> tuple[str, ...]:
    """A hostlist expression, such as node[1-3]: the nodes.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return tuple(expand(text))
    except MalformedMessageError as error:
        raise click.BadParameter(str(error)) from None
