"""Makes a dead letter of a notification that nobody took."""

import json
import time

import structlog

from producers.message import Message
from schemas import headers
from schemas.envelope import Envelope, parse
from schemas.events import Cause, Notice
from workers.broker import outgoing, topology
from workers.broker.failure_headers import final_cause
from workers.broker.link import Link
from workers.errors import BrokerError
from workers.notify.notifications import Notification

# Of these no webhook hears: one that takes nothing would otherwise cause what it is told.
UNDELIVERED = "message.undelivered"
_CONFIRM_SECONDS = 15.0


def dead_letter(which: Notification, cause: Cause, now: int) -> Message:
    """The event, with whom it was for and what it died of in its headers."""
    errors = which.failed(cause, now)
    return Message(
        topology.DEAD_LETTERS,
        topology.NOTIFY_AGAIN,
        which.body,
        which.event_id,
        headers={
            headers.WEBHOOK: which.webhook,
            headers.ATTEMPT: which.attempt,
            headers.ROUND: which.round,
            headers.ERRORS: json.dumps(errors, separators=(",", ":")),
            **final_cause(topology.NOTIFY_QUEUE, cause, now),
        },
    )


def undelivered(which: Notification, event: Envelope, cause: Cause, now: int) -> Message:
    """The notice for the audit."""
    notice = Notice(
        name=UNDELIVERED,
        cluster=event.source,
        subject=which.webhook,
        key=f"{which.event_id}/{which.round}",
        time=now,
        message=f"{event.type} of {event.subject}: {cause.error}: {cause.message}",
        remedy="mend the receiver, then `lamplighter dead-letters replay`",
        details={"event_id": which.event_id, "type": event.type, "subject": event.subject},
    )
    return outgoing.event(notice)


def bury(link: Link, which: Notification, cause: Cause) -> bool:
    """Whether the broker has taken its dead letter, and the audit's notice; if not, try again later."""
    now = time.time_ns()
    told = (
        dead_letter(which, cause, now),
        undelivered(which, parse(which.body), cause, now),
    )
    log = structlog.get_logger().bind(webhook=which.webhook, event_id=which.event_id)
    try:
        outgoing.publish_all(link, told, _CONFIRM_SECONDS)
    except BrokerError as error:
        log.warning("dead_letter_refused", error=type(error).__name__)
        return False
    log.error("notification_dead", cause=cause.error)
    return True
