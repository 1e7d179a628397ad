"""Notices: what operators must know that is not a request's event (alarms, rejected messages)."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas import ids
from schemas.envelope import Envelope
from schemas.fields import Fields, fit

_FAMILIES = ("alarm.", "message.", "group.", "hold.", "clock.")


@dataclass(frozen=True, slots=True)
class Notice:
    """An alarm, a rejected message, an operator's action.

    Attributes:
        name: gives the routing key and the type: `alarm.token`, `message.rejected`,
            `group.image_unset`, `hold.placed`, `clock.reset`.
        cluster: the cluster.
        subject: what the notice is about: a cloud's name, a queue, a node.
        key: two notices with the same name, subject and key are one.
        time: ns since the epoch.
        message, remedy: what is wrong, and what to do about it.
        details: more, by name.
        correlation_id: the hook call that caused it, or zeros.
    """

    name: str
    cluster: str
    subject: str
    key: str
    time: int
    message: str
    remedy: str
    details: Mapping[str, str]
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
        return Envelope(
            id=self.id,
            source=self.cluster,
            type=f"lamplighter.{self.name}.v1",
            subject=self.subject,
            time=self.time,
            traceparent=ids.traceparent(self.correlation_id, self.id),
            data={
                "key": self.key,
                "message": fit(self.message),
                "remedy": fit(self.remedy),
                "details": {name: fit(value) for name, value in self.details.items()},
            },
            correlation_id=self.correlation_id,
        )


def notice_from(envelope: Envelope) -> Notice:
    """The notice in an envelope.

    Raises:
        MalformedMessageError: naming the field and the remedy; also for other types.
    """
    name = envelope.type.removeprefix("lamplighter.").removesuffix(".v1")
    if not name.startswith(_FAMILIES) or envelope.type != f"lamplighter.{name}.v1":
        raise envelope.unknown_type("a notice")
    data = Fields(envelope.data, "data.")
    details = data.object("details").raw
    if not all(isinstance(value, str) for value in details.values()):
        raise data.wrong("details", "must hold strings only")
    notice = Notice(
        name=name,
        cluster=envelope.source,
        subject=envelope.subject,
        key=data.attribute("key"),
        time=envelope.time,
        message=data.text("message", shortest=0),
        remedy=data.text("remedy", shortest=0),
        details=details,
        correlation_id=envelope.correlation_id,
    )
    envelope.check_id(matches=notice.id == envelope.id, fields="type, source, subject and key")
    return notice
