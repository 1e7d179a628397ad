"""Deliveries as a power worker receives them, and a link that only records."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from schemas.commands import Kind
from tests.testbed.messages import command
from workers.broker import topology
from workers.broker.delivery import Delivery, DeliveryHistory
from workers.broker.outgoing import Outbox
from workers.power.intake import Pending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from producers.message import Message
    from schemas.commands import PowerCommand
    from workers.broker.link import Link
    from workers.broker.outgoing import Confirmed
    from workers.errors import BrokerError

_tags = count(1)


def delivery(
    asked: PowerCommand | bytes | None = None,
    headers: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    connection: int = 1,
) -> Delivery:
    """One delivery of a command or of any bytes; by default under the key of a resume or of the command."""
    asked = command() if asked is None else asked
    up = isinstance(asked, bytes) or asked.kind is Kind.RESUME
    return Delivery(
        queue=topology.RESUME_QUEUE if up else topology.SUSPEND_QUEUE,
        routing_key=key
        or ("node.resume.requested" if isinstance(asked, bytes) else asked.kind.routing_key),
        body=asked if isinstance(asked, bytes) else asked.to_envelope().to_json(),
        headers=headers or {},
        message_id=None if isinstance(asked, bytes) else asked.id,
        user_id=None,
        reply_to=None,
        correlation_id=None,
        redelivered=False,
        connection=connection,
        tag=next(_tags),
    )


def pending(
    asked: PowerCommand | None = None,
    history: DeliveryHistory | None = None,
    *,
    since: float = 0.0,
    dry_run: bool = False,
    rested: bool = False,
) -> Pending:
    """A request without an outcome yet."""
    asked = asked or command()
    history = history or DeliveryHistory()
    return Pending(delivery(asked, history.to_headers()), asked, history, since, dry_run, rested)


class RecordingLink:
    """Records published messages, unconfirmed until the test answers, and acknowledged deliveries."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.acked: list[Delivery] = []
        self._futures: list[Future[None]] = []

    @property
    def link(self) -> Link:
        """This object, with the type that its users expect."""
        return cast("Link", self)

    def publish(self, message: Message) -> Future[None]:
        """Same as Link.publish."""
        self.published.append(message)
        self._futures.append(Future())
        return self._futures[-1]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Same as Link.ack."""
        self.acked += deliveries

    def answer(self, position: int, error: BrokerError | None = None) -> None:
        """Confirm the message at this position, or reject it with `error`."""
        if error is None:
            self._futures[position].set_result(None)
        else:
            self._futures[position].set_exception(error)

    def answer_all(self) -> None:
        """Confirm all messages that are not answered yet."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)


def outbox_on(recording: RecordingLink) -> Outbox:
    """An outbox without a thread: it takes the broker's answers in at once."""

    def post(event: Confirmed) -> None:
        made.confirmed(event)

    made = Outbox(recording.link, post)
    return made
