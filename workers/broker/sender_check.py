"""Checks each delivery's sender before a worker gets it, and quarantines what is refused."""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

import structlog

from producers.message import Message
from schemas import headers, ids
from schemas.events import Cause
from schemas.fields import shown
from schemas.notices import Notice
from workers.broker import outgoing
from workers.broker.authority import judged
from workers.broker.delivery import Delivery
from workers.broker.failure_headers import final_cause
from workers.broker.roles import NOT_ALLOWED
from workers.broker.topology import AUDIT_QUEUE, DEAD_LETTERS, EVENTS, QUARANTINE
from workers.config.settings import Settings
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from workers.broker.link import Link

CAUSE = "not_allowed"
_RETRY_SECONDS = 2.0


class SenderCheck:
    """Stands between a link and its worker; used on the link's thread.

    A refused message becomes a dead letter with an alarm; once both are confirmed it is acknowledged.
    Of an event, the audit keeps the one copy that counts: it gets refused ones too, to record them;
    the other receivers' copies are dropped.

    `on_delivery` receives what is allowed.

    Attributes:
        link: set before the first delivery; publishes and acknowledges.
    """

    link: "Link"

    def __init__(self, settings: Settings, on_delivery: Callable[[Delivery], None]) -> None:
        self._cluster = settings.cluster
        self._users = settings.broker.users
        self._on_delivery = on_delivery
        self._log = structlog.get_logger()

    def receive(self, unchecked: Delivery) -> None:
        """Pass a delivery on, or quarantine it; the link's `on_delivery`."""
        delivery = judged(unchecked, self._users)
        if delivery.refusal is None:
            self._on_delivery(delivery)
            return
        self._log.error(
            "message_not_allowed",
            queue=delivery.queue,
            user=shown(delivery.user_id),
            exchange=delivery.exchange,
            routing_key=shown(delivery.routing_key),
            reason=delivery.refusal,
        )
        if delivery.queue == AUDIT_QUEUE:
            # an alarm about an alarm would never end
            if delivery.routing_key != NOT_ALLOWED:
                self.link.publish(outgoing.event(alarm(delivery, self._cluster)))
            self._on_delivery(delivery)
        elif delivery.exchange == EVENTS:
            self.link.ack([delivery])
        else:
            self._quarantine(delivery)

    def _quarantine(self, delivery: Delivery) -> None:
        """Publish the alarm, then the dead letter, then acknowledge: a repeated alarm changes nothing."""
        letter = quarantined(delivery, time.time_ns())
        self._publish(
            delivery,
            outgoing.event(alarm(delivery, self._cluster)),
            lambda: self._publish(delivery, letter, lambda: self.link.ack([delivery])),
        )

    def _publish(self, delivery: Delivery, message: Message, then: Callable[[], None]) -> None:
        def settled(sent: Future[None]) -> None:
            error = sent.exception()
            if error is None:
                then()
            elif not isinstance(error, BrokerAwayError):  # otherwise the broker delivers it again
                self._log.warning("quarantine_refused", queue=delivery.queue, error=str(error))
                again = threading.Timer(_RETRY_SECONDS, self._quarantine, (delivery,))
                again.daemon = True
                again.start()

        self.link.publish(message).add_done_callback(settled)


def alarm(delivery: Delivery, cluster: str) -> Notice:
    """The alarm about a message that its sender may not say."""
    digest = hashlib.sha256(delivery.body).hexdigest()
    return Notice(
        name=NOT_ALLOWED,
        cluster=cluster,
        subject=delivery.queue,
        key=ids.derived_id(str(delivery.user_id), delivery.routing_key, digest),
        time=time.time_ns(),
        message=f"a message was not allowed: {delivery.refusal}",
        remedy="find out who holds this user's password, and replace it; if the sender is one of"
        " yours, give it its role's user: lamplighter broker users",
        details={
            "user": delivery.user_id or "unknown",
            "exchange": delivery.exchange,
            "routing_key": delivery.routing_key,
            "sha256": digest,
            "bytes": str(len(delivery.body)),
        },
    )


def quarantined(delivery: Delivery, now: int) -> Message:
    """The message as a dead letter, byte for byte."""
    cause = Cause(CAUSE, delivery.refusal or CAUSE)
    return Message(
        DEAD_LETTERS,
        f"{QUARANTINE}.{delivery.queue}",
        delivery.body,
        ids.correlation_id(),
        headers={
            **final_cause(delivery.queue, cause, now),
            headers.ASKED_BY: delivery.user_id or "unknown",
        },
    )
