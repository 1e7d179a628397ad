"""Reads JSON from outside, reads and writes the fields of a message, and reports the field that is wrong.

A message's dataclass says how each field is read: `one: str = field(metadata=TEXT)` is read strictly from
the JSON field of the same name. Fields without metadata are not part of the JSON object.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from math import inf
from typing import Any, TypeVar

from schemas.errors import MalformedMessageError
from schemas.numbers import MOST

T = TypeVar("T")

# Each level costs the reader and the writer some of the stack that is left where they are called: what
# one place reads at its limit, another cannot.
MOST_DEEP = 100
LONGEST_TEXT = 4096
SENDER = "the sender must follow CloudEvents 1.0 and schemas/json"
# RFC 3339, section 5.6; datetime.fromisoformat accepts other forms of ISO 8601 too.
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
HALF_PAIR = re.compile("[\ud800-\udfff]")
_NS = 1_000_000_000
# Slurm's node names are host names; slurmctld sends nothing else.
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

SHOWN = 80


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, a number that is none or has no end, or nested deeper than MOST_DEEP.
    """
    try:
        found = json.loads(text, parse_constant=_reject_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _opening(text) > MOST_DEEP and _is_deep(found):
        raise ValueError("it is nested too deeply")
    return found


def _opening(text: str | bytes) -> int:
    """At least the depth, without a walk: hooks' messages are read by the thousand."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _is_deep(value: object) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_DEEP):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _reject_constant(word: str) -> None:
    """JSON has no NaN and no infinities, but json.loads accepts them by default."""
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    """A number beyond a float's range would be read as an infinity, and written as one."""
    number = float(digits)
    if number in {inf, -inf}:
        raise ValueError("a number is too large")
    return number


def is_node_name(name: str) -> bool:
    """Whether `name` can be a Slurm node's name: letters, digits, dot, dash, underscore."""
    return _NODE.fullmatch(name) is not None


def is_cluster_name(name: str) -> bool:
    """Whether `name` can be a cluster's name: at most 63 letters, digits, dashes, underscores."""
    return _CLUSTER.fullmatch(name) is not None


def shown(value: object) -> str:
    """`value` quoted, escaped and cut, safe for a log line or an error message."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


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
        if not value.isascii() and HALF_PAIR.search(value):
            raise self.wrong(field, "must be Unicode text")
        return value

    def attribute(self, field: str) -> str:
        """A CloudEvents attribute: 1 to 255 printable characters, so that it can be a key."""
        value = self.text(field, longest=255)
        if not value.isprintable():
            raise self.wrong(field, "must hold printable characters only")
        return value

    def text_or_none(self, field: str) -> str | None:
        """A string, or None if the field is absent, null or empty."""
        return self.text(field) if self.raw.get(field) not in (None, "") else None

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
    text = HALF_PAIR.sub("?", text)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."


def printable_line(text: str) -> str:
    """Text from outside on one line: no control characters and direction marks, no repeated spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@dataclass(frozen=True, slots=True)
class Codec:
    """How a field is read and written; None is not sent, nor is an optional value that is empty."""

    read: Callable[[Fields, str], Any]
    write: Callable[[Any], Any]
    required: bool


def wire(
    read: Callable[[Fields, str], Any],
    write: Callable[[Any], Any] = lambda value: value,
    *,
    required: bool = True,
) -> Mapping[str, Codec]:
    """The metadata of a field."""
    return {"wire": Codec(read, write, required)}


def number(*, required: bool = True, **limits: int) -> Mapping[str, Codec]:
    """A whole number from `least` to `most`."""
    return wire(lambda data, name: data.number(name, **limits), required=required)


def many(cls: type, *, required: bool = True) -> Mapping[str, Codec]:
    """A tuple of dataclasses, as a list of objects."""
    return wire(
        lambda data, name: tuple(read(cls, item) for item in data.objects(name)),
        lambda items: list(map(to_data, items)),
        required=required,
    )


def nested(cls: type, *, required: bool = True) -> Mapping[str, Codec]:
    """A dataclass, as an object."""
    return wire(lambda data, name: read(cls, data.object(name)), to_data, required=required)


TEXT = wire(Fields.text)
ANY_TEXT = wire(lambda data, name: data.text(name, shortest=0), fit)
OPTIONAL_TEXT = wire(Fields.text_or_none, fit, required=False)
ATTRIBUTE = wire(Fields.attribute)
OPTIONAL_ATTRIBUTE = wire(Fields.attribute, required=False)


@cache
def _codecs(cls: Any) -> Mapping[str, Codec]:  # noqa: ANN401 - a dataclass
    return {one.name: one.metadata["wire"] for one in fields(cls) if "wire" in one.metadata}


def to_data(message: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """The JSON object of a dataclass."""
    data = {}
    cls: Any = type(message)
    for name, codec in _codecs(cls).items():
        value = getattr(message, name)
        # 0 is not empty, False is
        if value is not None and (codec.required or value or type(value) is int):
            data[name] = codec.write(value)
    return data


def read(cls: Callable[..., T], data: Fields, **given: Any) -> T:  # noqa: ANN401 - the fields' types
    """A dataclass from a JSON object; fields that are `given` are not read.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    for name, codec in _codecs(cls).items():
        if name not in given and (codec.required or name in data.raw):
            given[name] = codec.read(data, name)
    return cls(**given)
