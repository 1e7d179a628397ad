"""Notices: what operators must know that is not a request's event (alarms, rejected messages)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas import ids
from schemas.envelope import Envelope
from schemas.fields import ANY_TEXT, ATTRIBUTE, Fields, fit, read, to_data, wire

FAMILIES = ("alarm.", "message.", "group.", "hold.", "clock.")


def _details(data: Fields, name: str) -> Mapping[str, str]:
    details = data.object(name).raw
    if not all(isinstance(value, str) for value in details.values()):
        raise data.wrong(name, "must hold strings only")
    return details


@dataclass(frozen=True, slots=True)
class Notice:
    """An alarm, a rejected message, an operator's action; `time` in ns since the epoch.

    Attributes:
        name: gives the routing key and the type: `alarm.token`, `message.rejected`,
            `group.image_unset`, `hold.placed`, `clock.reset`.
        subject: what the notice is about: a cloud's name, a queue, a node.
        key: two notices with the same name, subject and key are one.
        details: more, by name.
        correlation_id: the hook call that caused it, or zeros.
    """

    name: str
    cluster: str
    subject: str
    key: str = field(metadata=ATTRIBUTE)
    time: int
    message: str = field(metadata=ANY_TEXT)
    remedy: str = field(metadata=ANY_TEXT)
    details: Mapping[str, str] = field(
        metadata=wire(_details, lambda texts: {name: fit(text) for name, text in texts.items()})
    )
    correlation_id: str = ids.NO_CORRELATION

    @property
    def id(self) -> str:
        """Derived from name, subject and key."""
        return ids.derived_id(self.name, self.cluster, self.subject, self.key)

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return self.name

    def to_envelope(self) -> Envelope:
        """The message's envelope."""
        return Envelope.around(self, f"lamplighter.{self.name}.v1", self.subject, to_data(self))


def notice_from(envelope: Envelope) -> Notice:
    """The notice in an envelope; raises MalformedMessageError, also for other types."""
    name = envelope.type.removeprefix("lamplighter.").removesuffix(".v1")
    if not name.startswith(FAMILIES) or envelope.type != f"lamplighter.{name}.v1":
        raise envelope.unknown_type("a notice")
    notice = read(
        Notice,
        Fields(envelope.data, "data."),
        name=name,
        cluster=envelope.source,
        subject=envelope.subject,
        time=envelope.time,
        correlation_id=envelope.correlation_id,
    )
    envelope.check_id(matches=notice.id == envelope.id, fields="type, source, subject and key")
    return notice
