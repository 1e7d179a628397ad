"""The envelope around every message: CloudEvents 1.0, structured mode, JSON.

`generation` is sent as a decimal string: neither CloudEvents' Integer nor a JSON double holds 64 bits.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas import ids
from schemas.errors import MalformedMessageError
from schemas.fields import SENDER, Fields, is_cluster_name, is_node_name, loads, shown
from schemas.numbers import MOST

CONTENT_TYPE = "application/cloudevents+json"
_DATA_TYPE = "application/json"
_DECIMAL = re.compile(r"[0-9]{1,19}")
_CORRELATION = re.compile(r"[0-9a-f]{32}")
_NS = 1_000_000_000
# Of one message, as RabbitMQ 4 takes it by default: to read more would cost gigabytes of memory, and more
# time than a connection has until its next heartbeat.
MOST_BYTES = 2**24
# json.dumps makes a new encoder each time
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Envelope:
    """One CloudEvent.

    Attributes:
        id: unique within `source`; a repeat of the same id is the same event.
        source: the Slurm cluster's name.
        type: with its version, for example `lamplighter.node.resume.requested.v1`.
        subject: the node's name, or what else the event is about.
        time: nanoseconds since the epoch (sent as RFC 3339, microseconds).
        traceparent: W3C Trace Context.
        generation: the fencing number, nanoseconds since the epoch; 0 if none applies.
        correlation_id: 32 hex digits, one per hook call; zeros if no hook call is the cause.
        expiry: nanoseconds since the epoch, or None.
    """

    id: str
    source: str
    type: str
    subject: str
    time: int
    traceparent: str
    data: Mapping[str, Any]
    generation: int = 0
    correlation_id: str = ids.NO_CORRELATION
    expiry: int | None = None

    @classmethod
    def around(cls, message: Any, type_: str, subject: str, data: Mapping[str, Any]) -> "Envelope":  # noqa: ANN401 - any message
        """The envelope of a message, with its `correlation_id`, `generation` and `expiry` if it has them.

        `time` is the generation if it has none; `request_id`, otherwise `id`, is the trace's span.
        """
        correlation = getattr(message, "correlation_id", ids.NO_CORRELATION)
        generation = getattr(message, "generation", 0)
        id_ = message.id
        return cls(
            id=id_,
            source=message.cluster,
            type=type_,
            subject=subject,
            time=getattr(message, "time", generation),
            traceparent=traceparent(correlation, getattr(message, "request_id", None) or id_),
            data=data,
            generation=generation,
            correlation_id=correlation,
            expiry=getattr(message, "expiry", None),
        )

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
        return _encode(attributes).encode()

    @property
    def node(self) -> str:
        """The subject of an event about a node; MalformedMessageError if it is not a node name."""
        if not is_node_name(self.subject):
            raise MalformedMessageError(
                "subject", f"{shown(self.subject)} is not a node name", "send Slurm's node name"
            )
        return self.subject

    def unknown_type(
        self, what: str, remedy: str = "send one of schemas/json"
    ) -> MalformedMessageError:
        """The error for an event whose type the reader does not accept; `what` it should be."""
        return MalformedMessageError("type", f"{shown(self.type)} is not {what}", remedy)

    def check_id(self, *, matches: bool, fields: str) -> None:
        """Raise a MalformedMessageError unless the id is derived from the event's own fields.

        `fields` are what it is derived from, for the error's text.
        """
        if not matches:
            raise MalformedMessageError("id", f"does not match {fields}", "do not change them")


def parse(body: bytes) -> Envelope:
    """Read one event; raises MalformedMessageError, naming the attribute and the remedy."""
    try:
        raw = loads(body)
    except ValueError as error:
        raise MalformedMessageError("body", f"not JSON: {error}", SENDER) from None
    if not isinstance(raw, dict):
        raise MalformedMessageError("body", "not a JSON object", SENDER)
    reader = Fields(raw, "")
    if reader.text("specversion") != "1.0":
        raise reader.wrong("specversion", "must be 1.0")
    if raw.get("datacontenttype", _DATA_TYPE) != _DATA_TYPE:
        raise reader.wrong("datacontenttype", f"must be {_DATA_TYPE}")
    source = reader.text("source")
    if not is_cluster_name(source):
        raise reader.wrong("source", "is not a cluster name")
    generation = reader.text("generation")
    if not _DECIMAL.fullmatch(generation) or int(generation) > MOST:
        raise reader.wrong("generation", f"must be a string of decimal digits, at most {MOST}")
    correlation = reader.text("correlationid")
    if not _CORRELATION.fullmatch(correlation):
        raise reader.wrong("correlationid", "must be 32 hex digits")
    return Envelope(
        id=reader.attribute("id"),
        source=source,
        type=reader.attribute("type"),
        subject=reader.attribute("subject"),
        time=reader.instant("time"),
        traceparent=reader.attribute("traceparent"),
        data=reader.object("data").raw,
        generation=int(generation),
        correlation_id=correlation,
        expiry=reader.instant("expirytime") if "expirytime" in raw else None,
    )


def rfc3339(moment: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, to the microsecond."""
    seconds, rest = divmod(moment, _NS)
    stamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return stamp.isoformat(timespec="microseconds").replace("+00:00", "Z")


def traceparent(correlation: str, request: str) -> str:
    """W3C Trace Context: the hook call is the trace, the node's request is the span."""
    span = hashlib.sha256(request.encode()).hexdigest()[:16]
    return f"00-{correlation}-{span}-01"
