"""What the power worker publishes: events, retries, dead letters. Pure."""

import hashlib
from dataclasses import replace

from producers.message import Message
from schemas import events, headers
from schemas.errors import MalformedMessageError
from schemas.events import Cause, RequestEvent, Transition
from schemas.notices import Notice
from workers.broker import topology
from workers.broker.delivery import Delivery
from workers.broker.failure_headers import final_cause
from workers.broker.outgoing import event
from workers.power.intake import DeliveryHistory, Pending

_BY_ATTEMPT = list(topology.RETRY_TIERS)


def about(
    pending: Pending, transition: Transition, history: DeliveryHistory, now: int
) -> RequestEvent:
    """The event of a request's transition."""
    made = events.transition_event(
        pending.command, transition, round_=history.round, time=now, attempt=history.attempt
    )
    return replace(made, dry_run=pending.dry_run)


def accepted(pending: Pending, now: int) -> Message:
    """The event that carries the command, and the broker user that sent it, into the audit."""
    made = about(pending, Transition.ACCEPTED, pending.history, now)
    return event(replace(made, sender=pending.delivery.sender))


def retried(pending: Pending, cause: Cause, now: int) -> tuple[str, list[Message]]:
    """The next tier; the request on its way there with one more failed attempt, and the event."""
    history = pending.history.failed(cause, now)
    tier = _BY_ATTEMPT[min(history.attempt, len(_BY_ATTEMPT)) - 1]
    made = about(pending, Transition.RETRIED, history, now)
    made = replace(made, cause=cause, retry_in=topology.RETRY_TIERS[tier])
    return tier, [_to(tier, pending, history), event(made)]


def parked(pending: Pending, cause: Cause, tier: str, now: int) -> list[Message]:
    """The request on its way to a tier with its attempts unchanged; the event once a round."""
    history = replace(pending.history, parked=pending.history.parked + 1)
    made = about(pending, Transition.PARKED, history, now)
    made = replace(made, cause=cause, retry_in=topology.RETRY_TIERS[tier])
    return [_to(tier, pending, history), *([event(made)] if history.parked == 1 else [])]


def dead_letter(delivery: Delivery, history: DeliveryHistory, cause: Cause, now: int) -> Message:
    """The request as it came, with the final cause in its headers."""
    return Message(
        topology.DEAD_LETTERS,
        delivery.routing_key,
        delivery.body,
        delivery.message_id or "unknown",
        headers={
            **_headers(delivery, history),
            **final_cause(delivery.queue, cause, now),
        },
    )


def ended(pending: Pending, transition: Transition, cause: Cause, now: int) -> RequestEvent:
    """The outcome of a request that ends when it arrives."""
    return replace(about(pending, transition, pending.history, now), cause=cause)


def refused(pending: Pending, cause: Cause, now: int) -> Notice:
    """The alarm about a request that cannot even be tried: the installation is set up wrong."""
    command = pending.command
    return Notice(
        name="alarm.request_refused",
        cluster=command.cluster,
        subject=command.node,
        key=f"{pending.id}/{pending.history.round}",
        time=now,
        message=cause.message,
        remedy="remove the cause, then replay the dead letter",
        details={"error": cause.error, "origin": command.origin},
        correlation_id=command.correlation_id,
    )


def rejected(delivery: Delivery, cluster: str, error: MalformedMessageError, now: int) -> Notice:
    """The notice about a message that cannot be read."""
    return Notice(
        name="message.rejected",
        cluster=cluster,
        subject=delivery.queue,
        key=hashlib.sha256(delivery.body).hexdigest(),
        time=now,
        message=error.problem,
        remedy=error.remedy,
        details={"field": error.field, "bytes": str(len(delivery.body))},
    )


def _to(tier: str, pending: Pending, history: DeliveryHistory) -> Message:
    delivery = pending.delivery
    return Message(
        tier,
        # the tier's fanout ignores the key; the message returns with it to the work queue
        delivery.routing_key,
        delivery.body,
        pending.id,
        headers=_headers(delivery, history),
    )


def _headers(delivery: Delivery, history: DeliveryHistory) -> dict[str, str | int]:
    """A request's headers when we publish it again: its authority stays that of its first sender."""
    asked_by = {headers.ASKED_BY: delivery.sender} if delivery.sender is not None else {}
    return {**history.to_headers(), **asked_by}
