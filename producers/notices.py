"""Notices of what an operator did, spooled as the calls of hooks are: the audit must not miss them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from producers.message import Message
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.fields import loads
from schemas.notices import notice_from

EXCHANGE = "power.events"


@dataclass(frozen=True, slots=True)
class SpooledNotices:
    """Notices of one command, as they are spooled.

    Attributes:
        generation: ns since the epoch, for the order of the spool only.
        correlation_id: 32 hex digits, for the name of the file only.
        bodies: the messages, by their IDs.
    """

    generation: int
    correlation_id: str
    bodies: tuple[tuple[str, str], ...]

    @property
    def cluster(self) -> str | None:
        """The cluster that they are of; MalformedMessageError if the first is not a notice."""
        return notice_from(parse(self.bodies[0][1].encode())).cluster if self.bodies else None

    def to_json(self) -> bytes:
        """The content of the spool file."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    def parts(self) -> dict[str, str]:
        """The IDs of its messages."""
        return {id_: id_ for id_, _ in self.bodies}

    def only(self, parts: Sequence[str]) -> "SpooledNotices":
        """These messages only."""
        return replace(self, bodies=tuple(body for body in self.bodies if body[0] in parts))


def notices_from(body: bytes) -> SpooledNotices:
    """Read spooled notices; the audit accepts them.

    Raises:
        MalformedMessageError: the file was not written by a command.
    """
    try:
        raw = loads(body)
        bodies = tuple((str(id_), str(text)) for id_, text in raw["bodies"])
        found = SpooledNotices(**{**raw, "bodies": bodies})
        for _ in messages(found):
            pass
    except (ValueError, TypeError, LookupError) as error:
        raise MalformedMessageError(
            "spool file", f"not written by a command: {error}", "move it away"
        ) from None
    return found


def messages(spooled: SpooledNotices) -> Iterator[Message]:
    """The messages, the same each time they are sent.

    Raises:
        MalformedMessageError: one of them is not a notice.
    """
    for _, text in spooled.bodies:
        body = text.encode()
        notice = notice_from(parse(body))
        yield Message(EXCHANGE, notice.routing_key, body, notice.id)
