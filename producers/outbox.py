"""Publishes a spooled call, and then removes it from the spool or keeps the unsent part."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from producers import call as calls
from producers import notices
from producers.message import Batch, Message, PublishResult
from producers.settings import HookSettings
from producers.spool import SpoolContent, Spooled, SpoolError

EXCHANGE = "power.commands"


@dataclass(slots=True)
class Sending:
    """A call that is being published.

    Attributes:
        spooled: its spool file, or None if it could not be made durable.
        report: called with a text when the spool fails.
        confirmed: whether the broker has confirmed all its messages.
    """

    call: SpoolContent
    spooled: Spooled | None
    report: Callable[[str], object]
    confirmed: bool = field(default=False, init=False)

    def batch(self, seconds: float | None = None) -> Batch:
        """Its messages, with a time limit in seconds; None for the limit of the whole publish."""
        return Batch(messages(self.call), self._on_confirmed, self._on_left, seconds)

    def _on_confirmed(self) -> None:
        self.confirmed = True
        if self.spooled is not None:
            self._spool(self.spooled.done)

    def _on_left(self, left: list[Message]) -> None:
        if self.spooled is None:
            return
        ids = {message.id for message in left}
        parts = self.call.parts()
        open_ = [part for id_, part in parts.items() if id_ in ids]
        if len(open_) < len(parts):
            self._spool(partial(self.spooled.keep, open_))
        else:
            self.spooled.release()

    def _spool(self, change: Callable[[], None]) -> None:
        try:
            change()
        except SpoolError as error:
            self.report(str(error))


def messages(call: SpoolContent) -> Iterator[Message]:
    """The call's messages, one per node or notice, the same each time the call is sent."""
    if isinstance(call, notices.SpooledNotices):
        yield from notices.messages(call)
        return
    for command in calls.commands(call):
        body = command.to_envelope().to_json()
        yield Message(EXCHANGE, command.kind.routing_key, body, command.id)


def deliver(
    settings: HookSettings, name: str, batches: Iterable[Batch], seconds: float
) -> PublishResult:
    """Publish; `seconds` to connect; `name` is shown in the broker's list of connections."""
    # Importing pika takes five times as long as all the rest; the request is on disk before that.
    from producers.amqp import ConnectionParameters  # noqa: PLC0415
    from producers.publish import publish  # noqa: PLC0415

    return publish(ConnectionParameters(settings.broker, name, timeout=3.0), batches, seconds)
