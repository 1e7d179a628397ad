"""From a call on disk to messages with the broker, and back to what is left of the call."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from producers import call as calls
from producers.message import Batch, Message, PublishResult
from producers.settings import ConfigError, HookSettings
from producers.spool import Spooled, SpoolError

EXCHANGE = "power.commands"


@dataclass(slots=True)
class Sending:
    """A call on its way.

    Attributes:
        call: what is sent.
        spooled: where it lies on disk, or None where it could not be made durable.
        report: is told in words when the spool makes trouble.
        through: whether the broker has all of it.
    """

    call: calls.HookCall
    spooled: Spooled | None
    report: Callable[[str], object]
    through: bool = field(default=False, init=False)

    def batch(self, seconds: float) -> Batch:
        """Its messages, which may take so long."""
        return Batch(messages(self.call), self._confirmed, self._left, seconds)

    def _confirmed(self) -> None:
        self.through = True
        if self.spooled is not None:
            self._spool(self.spooled.done)

    def _left(self, left: list[Message]) -> None:
        if self.spooled is None:
            return
        ids = {message.id for message in left}
        asked = calls.commands(self.call)
        nodes = [command.node for command in asked if command.id in ids]
        if len(nodes) < len(asked):
            self._spool(partial(self.spooled.keep, nodes))
        else:
            self.spooled.release()

    def _spool(self, change: Callable[[], None]) -> None:
        try:
            change()
        except SpoolError as error:
            self.report(str(error))


def messages(hook_call: calls.HookCall) -> Iterator[Message]:
    """The call's messages, one a node, the same however often it is sent."""
    for command in calls.commands(hook_call):
        body = command.to_envelope().to_json()
        yield Message(EXCHANGE, command.kind.routing_key, body, command.id)


def deliver(
    settings: HookSettings, name: str, batches: Iterable[Batch], seconds: float
) -> PublishResult:
    """Publish; `seconds` is for connecting, `name` is shown in the broker's list."""
    # pika costs five times what all else here does; the request is on disk before it is paid.
    from producers.amqp import connection_parameters  # noqa: PLC0415
    from producers.publish import publish  # noqa: PLC0415

    try:
        parameters = connection_parameters(settings.broker, name, timeout=3.0)
    except ConfigError as error:
        return PublishResult(str(error), lost=False)
    return publish(parameters, batches, seconds)
