"""Dead-letters notifications that could not be delivered."""

import json
import time

import structlog

from producers.message import Message
from schemas import headers
from schemas.envelope import Envelope, parse
from schemas.events import Cause
from schemas.notices import Notice
from workers.broker import outgoing, topology
from workers.broker.failure_headers import final_cause
from workers.broker.link import Link
from workers.errors import BrokerError
from workers.notify.notifications import Notification

# Never sent to webhooks: a webhook that fails would otherwise cause its own notifications.
UNDELIVERED = "message.undelivered"
_CONFIRM_SECONDS = 15.0


def dead_letter(notification: Notification, cause: Cause, now: int) -> Message:
    """The event, with its webhook and the cause of failure in the headers."""
    errors = notification.failed(cause, now)
    return Message(
        topology.DEAD_LETTERS,
        topology.NOTIFY_AGAIN,
        notification.body,
        notification.event_id,
        headers={
            headers.WEBHOOK: notification.webhook,
            headers.ATTEMPT: notification.attempt,
            headers.ROUND: notification.round,
            headers.ERRORS: json.dumps(errors, separators=(",", ":")),
            **final_cause(topology.NOTIFY_QUEUE, cause, now),
        },
    )


def undelivered(notification: Notification, event: Envelope, cause: Cause, now: int) -> Message:
    """The notice for the audit that a notification was not delivered."""
    notice = Notice(
        name=UNDELIVERED,
        cluster=event.source,
        subject=notification.webhook,
        key=f"{notification.event_id}/{notification.round}",
        time=now,
        message=f"{event.type} of {event.subject}: {cause}",
        remedy="fix the receiver, then run `lamplighter dead-letters replay`",
        details={"event_id": notification.event_id, "type": event.type, "subject": event.subject},
    )
    return outgoing.event(notice)


def publish(link: Link, notification: Notification, cause: Cause) -> bool:
    """Publish the dead letter and the notice; whether the broker confirmed both."""
    now = time.time_ns()
    notice = undelivered(notification, parse(notification.body), cause, now)
    log = structlog.get_logger().bind(webhook=notification.webhook, event_id=notification.event_id)
    try:
        outgoing.publish_all(
            link, (dead_letter(notification, cause, now), notice), _CONFIRM_SECONDS
        )
    except BrokerError as error:
        log.warning("dead_letter_refused", error=type(error).__name__)
        return False
    log.error("notification_dead", cause=cause.error)
    return True
