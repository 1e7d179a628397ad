"""What the notify worker publishes of a notification that nobody took. Pure."""

import json

from producers.message import Message
from schemas import headers
from schemas.envelope import Envelope, rfc3339
from schemas.events import Cause, Notice
from workers import topology
from workers.notify.box import Notification

# Of these no webhook hears: one that takes nothing would otherwise cause what it is told.
UNDELIVERED = "message.undelivered"


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
            headers.DIED_IN: topology.NOTIFY_QUEUE,
            headers.CAUSE: cause.error,
            headers.CAUSE_MESSAGE: cause.message,
            headers.DIED_AT: rfc3339(now),
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
    return Message(topology.EVENTS, notice.routing_key, notice.to_envelope().to_json(), notice.id)
