"""Reads the fields of a message's JSON objects, and reports the field that is wrong."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas.errors import MalformedMessageError
from schemas.names import is_node_name, shown

LONGEST_TEXT = 4096
# The stores keep times and generations in 64 bits: until the year 2262.
MOST = 2**63 - 1
SENDER = "the sender must follow CloudEvents 1.0 and schemas/json"
# RFC 3339, section 5.6; datetime.fromisoformat accepts other forms of ISO 8601 too.
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_NS = 1_000_000_000


class Fields:
    """Reads an object's fields strictly; unknown fields are ignored, as CloudEvents requires."""

    def __init__(self, raw: Mapping[str, Any], path: str) -> None:
        self.raw = raw
        self._path = path

    def wrong(self, field: str, problem: str) -> MalformedMessageError:
        """The error for `field`, with its value."""
        held = f"{problem}; it holds {shown(self.raw[field])}" if field in self.raw else problem
        return MalformedMessageError(f"{self._path}{field}", held, SENDER)

    def _get(self, field: str, kind: type | tuple[type, ...], name: str) -> Any:  # noqa: ANN401 - each caller names the type
        if field not in self.raw:
            raise self.wrong(field, "is missing")
        value = self.raw[field]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(field, f"must be {name}")
        return value

    def text(self, field: str, longest: int = LONGEST_TEXT, shortest: int = 1) -> str:
        """A string."""
        value: str = self._get(field, str, "a string")
        if not shortest <= len(value) <= longest:
            raise self.wrong(field, f"must have {shortest} to {longest} characters")
        # json.loads accepts half a surrogate pair, which no file, database or argument can hold
        if not value.isascii() and _HALF_PAIR.search(value):
            raise self.wrong(field, "must be Unicode text")
        return value

    def attribute(self, field: str) -> str:
        """A CloudEvents attribute: 1 to 255 printable characters, so that it can be a key."""
        value = self.text(field, longest=255)
        if not value.isprintable():
            raise self.wrong(field, "must hold printable characters only")
        return value

    def text_or_none(self, field: str, longest: int = LONGEST_TEXT) -> str | None:
        """A string, or None if the field is absent, null or empty."""
        return self.text(field, longest) if self.raw.get(field) not in (None, "") else None

    def number(self, field: str, least: int = 0, most: int = MOST) -> int:
        """A whole number."""
        value: int = self._get(field, int, "a whole number")
        if not least <= value <= most:
            raise self.wrong(field, f"must be from {least} to {most}")
        return value

    def flag(self, field: str) -> bool:
        """True or false."""
        value: bool = self._get(field, bool, "true or false")
        return value

    def instant(self, field: str) -> int:
        """An RFC 3339 time with its offset, as nanoseconds since the epoch."""
        text = self.text(field, longest=64)
        if not _INSTANT.fullmatch(text):
            raise self.wrong(field, "must be an RFC 3339 time with its offset from UTC")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self.wrong(field, "is a time that does not exist") from None
        whole = int(moment.replace(microsecond=0).timestamp())
        nanoseconds = whole * _NS + moment.microsecond * 1000
        if not 0 <= nanoseconds <= MOST:
            raise self.wrong(field, "must lie between the years 1970 and 2262")
        return nanoseconds

    def object(self, field: str) -> "Fields":
        """A nested object."""
        return Fields(self._get(field, dict, "an object"), f"{self._path}{field}.")

    def objects(self, field: str) -> "list[Fields]":
        """A list of objects."""
        value: list[Any] = self._get(field, list, "a list")
        for position, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.wrong(field, f"must hold objects only (item {position} is not one)")
        return [Fields(item, f"{self._path}{field}[{i}].") for i, item in enumerate(value)]

    def node_names(self, field: str) -> tuple[str, ...]:
        """A list of node names."""
        names: list[Any] = self._get(field, list, "a list of node names")
        if not all(isinstance(name, str) and is_node_name(name) for name in names):
            raise self.wrong(field, "must be a list of node names")
        return tuple(names)


def fit(text: str) -> str:
    """Text from outside as a text field may hold it: cut, and `?` for half a surrogate pair."""
    text = _HALF_PAIR.sub("?", text)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."
