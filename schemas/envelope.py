"""The envelope around everything that is said: CloudEvents 1.0, structured mode, JSON.

`generation` travels as a decimal string: 64 bits fit neither CloudEvents' Integer nor a JSON double.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.errors import MalformedMessageError
from schemas.names import is_cluster_name, shown

CONTENT_TYPE = "application/cloudevents+json"
LONGEST_TEXT = 4096
_DATA_TYPE = "application/json"
_SENDER = "the sender must speak CloudEvents 1.0 as schemas/json says"
_DECIMAL = re.compile(r"[0-9]{1,19}")
_CORRELATION = re.compile(r"[0-9a-f]{32}")
# RFC 3339, section 5.6; Python's reader takes other forms of ISO 8601 too.
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_NS = 1_000_000_000
# Times and generations are 64-bit in the stores: until the year 2262.
_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Envelope:
    """One CloudEvent.

    Attributes:
        id: unique within `source`; a repeat of the same id is the same event.
        source: the Slurm cluster's name.
        type: versioned, for example `lamplighter.node.resume.requested.v1`.
        subject: the node's name, or what else the event is about.
        time: nanoseconds since the epoch (sent as RFC 3339, microseconds).
        generation: the fencing number, nanoseconds since the epoch; 0 where none applies.
        correlation_id: 32 hex digits, one per hook call.
        traceparent: W3C Trace Context.
        expiry: nanoseconds since the epoch, or None.
        data: the payload, an object.
    """

    id: str
    source: str
    type: str
    subject: str
    time: int
    generation: int
    correlation_id: str
    traceparent: str
    data: Mapping[str, Any]
    expiry: int | None = None

    def to_json(self) -> bytes:
        """The event as UTF-8 JSON."""
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": rfc3339(self.time),
            "datacontenttype": _DATA_TYPE,
            "generation": str(self.generation),
            "correlationid": self.correlation_id,
            "traceparent": self.traceparent,
        }
        if self.expiry is not None:
            attributes["expirytime"] = rfc3339(self.expiry)
        attributes["data"] = self.data
        return json.dumps(attributes, separators=(",", ":")).encode()


def parse(body: bytes) -> Envelope:
    """Read one event.

    Raises:
        MalformedMessageError: naming the attribute and the remedy.
    """
    try:
        raw = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError("body", f"not JSON: {error}", _SENDER) from None
    if not isinstance(raw, dict):
        raise MalformedMessageError("body", "not a JSON object", _SENDER)
    reader = Fields(raw, "")
    if reader.text("specversion") != "1.0":
        raise reader.wrong("specversion", "must be 1.0")
    if raw.get("datacontenttype", _DATA_TYPE) != _DATA_TYPE:
        raise reader.wrong("datacontenttype", f"must be {_DATA_TYPE}")
    source = reader.text("source")
    if not is_cluster_name(source):
        raise reader.wrong("source", "is not a cluster name")
    generation = reader.text("generation")
    if not _DECIMAL.fullmatch(generation) or int(generation) > _MOST:
        raise reader.wrong("generation", f"must be a string of decimal digits, at most {_MOST}")
    correlation = reader.text("correlationid")
    if not _CORRELATION.fullmatch(correlation):
        raise reader.wrong("correlationid", "must be 32 hex digits")
    return Envelope(
        id=reader.attribute("id"),
        source=source,
        type=reader.attribute("type"),
        subject=reader.attribute("subject"),
        time=reader.instant("time"),
        generation=int(generation),
        correlation_id=correlation,
        traceparent=reader.attribute("traceparent"),
        expiry=reader.instant("expirytime") if "expirytime" in raw else None,
        data=reader.object("data").raw,
    )


def _no_number(word: str) -> None:
    """JSON has no NaN and no infinities; Python's reader takes them unless told."""
    raise ValueError(f"{word} is no JSON")


class Fields:
    """Reads an object's fields strictly; unknown fields are left alone, as CloudEvents asks."""

    def __init__(self, raw: Mapping[str, Any], path: str) -> None:
        self.raw = raw
        self._path = path

    def wrong(self, field: str, problem: str) -> MalformedMessageError:
        """The error for `field`, showing what it held."""
        held = f"{problem}; it holds {shown(self.raw[field])}" if field in self.raw else problem
        return MalformedMessageError(f"{self._path}{field}", held, _SENDER)

    def _get(self, field: str, kind: type | tuple[type, ...], name: str) -> Any:  # noqa: ANN401 - each caller names the type
        if field not in self.raw:
            raise self.wrong(field, "is missing")
        value = self.raw[field]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(field, f"must be {name}")
        return value

    def text(self, field: str, longest: int = LONGEST_TEXT, shortest: int = 1) -> str:
        """A string, of at least one character unless told otherwise."""
        value: str = self._get(field, str, "a string")
        if not shortest <= len(value) <= longest:
            raise self.wrong(field, f"must have {shortest} to {longest} characters")
        return value

    def attribute(self, field: str) -> str:
        """A CloudEvents attribute: 1 to 255 printable characters, so that it can be a key."""
        value = self.text(field, longest=255)
        if not value.isprintable():
            raise self.wrong(field, "must hold printable characters only")
        return value

    def text_or_none(self, field: str, longest: int = LONGEST_TEXT) -> str | None:
        """A string, or None where the field is absent, null or empty."""
        return self.text(field, longest) if self.raw.get(field) not in (None, "") else None

    def number(self, field: str, least: int = 0, most: int = _MOST) -> int:
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
        if not 0 <= nanoseconds <= _MOST:
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
                raise self.wrong(field, f"must hold objects (item {position} is none)")
        return [Fields(item, f"{self._path}{field}[{i}].") for i, item in enumerate(value)]


def fit(text: str) -> str:
    """Foreign words, cut to what a text field may hold."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."


def rfc3339(moment: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, to the microsecond."""
    seconds, rest = divmod(moment, _NS)
    stamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return stamp.isoformat(timespec="microseconds").replace("+00:00", "Z")
