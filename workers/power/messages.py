"""What the power worker publishes: events, retries, dead letters. Pure."""

import hashlib
from dataclasses import replace

from producers.message import Message
from schemas import events
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
    pending: Pending, transition: Transition, past: DeliveryHistory, now: int
) -> RequestEvent:
    """The event of a step of a request of ours."""
    told = events.transition_event(
        pending.command, transition, round_=past.round, time=now, attempt=past.attempt
    )
    return replace(told, dry_run=pending.dry_run)


def accepted(pending: Pending, now: int) -> Message:
    """The event that carries the command into the audit."""
    return event(about(pending, Transition.ACCEPTED, pending.past, now))


def retried(pending: Pending, cause: Cause, now: int) -> list[Message]:
    """The request on its way to the next tier with one more failed attempt, and the event."""
    past = pending.past.failed(cause, now)
    tier = _BY_ATTEMPT[min(past.attempt, len(_BY_ATTEMPT)) - 1]
    told = about(pending, Transition.RETRIED, past, now)
    told = replace(told, cause=cause, retry_in=topology.RETRY_TIERS[tier])
    return [_to(tier, pending, past), event(told)]


def parked(pending: Pending, cause: Cause, tier: str, now: int) -> list[Message]:
    """The request on its way to a tier with its attempts unchanged; the event once a round."""
    past = replace(pending.past, parked=pending.past.parked + 1)
    told = about(pending, Transition.PARKED, past, now)
    told = replace(told, cause=cause, retry_in=topology.RETRY_TIERS[tier])
    return [_to(tier, pending, past), *([event(told)] if past.parked == 1 else [])]


def dead_letter(delivery: Delivery, past: DeliveryHistory, cause: Cause, now: int) -> Message:
    """The request as it came, with what it died of in its headers."""
    return Message(
        topology.DEAD_LETTERS,
        delivery.routing_key,
        delivery.body,
        delivery.message_id or "unknown",
        headers={
            **past.to_headers(),
            **final_cause(delivery.queue, cause, now),
        },
    )


def refusal(pending: Pending, cause: Cause, now: int) -> RequestEvent:
    """How a request ends that could not even be tried."""
    return replace(about(pending, Transition.FAILED, pending.past, now), cause=cause)


def overtaken(pending: Pending, cause: Cause, now: int) -> RequestEvent:
    """How a request ends that Slurm itself has gone back on."""
    return replace(refusal(pending, cause, now), transition=Transition.SUPERSEDED)


def refused(pending: Pending, cause: Cause, now: int) -> Notice:
    """The alarm about a request that could not even be tried: it shows a site set up wrong."""
    command = pending.command
    return Notice(
        name="alarm.request_refused",
        cluster=command.cluster,
        subject=command.node,
        key=f"{command.id}/{pending.past.round}",
        time=now,
        message=cause.message,
        remedy="mend it, then replay the dead letter",
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


def _to(tier: str, pending: Pending, past: DeliveryHistory) -> Message:
    delivery = pending.delivery
    return Message(
        tier,
        # the tier's fanout ignores it; it comes back with it to the work queue
        delivery.routing_key,
        delivery.body,
        pending.command.id,
        headers=past.to_headers(),
    )
