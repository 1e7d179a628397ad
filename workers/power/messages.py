"""What the power worker publishes: events, outcomes, retries, dead letters. Pure."""

import hashlib
from dataclasses import replace
from typing import Any

from producers.message import Message
from schemas import events, headers
from schemas.commands import Desired
from schemas.errors import MalformedMessageError
from schemas.events import Cause, RequestEvent, Transition
from schemas.notices import Notice
from workers.broker import topology
from workers.broker.delivery import Delivery, DeliveryHistory
from workers.broker.failure_headers import final_cause
from workers.broker.outgoing import event
from workers.clouds.servers import node_address
from workers.power.admit import IMPLAUSIBLE
from workers.power.intake import Pending
from workers.power.node import PendingNode
from workers.power.steps import Finish
from workers.store.group_images import GroupImage
from workers.store.power_store import NodeEnd

_BY_ATTEMPT = list(topology.RETRY_TIERS)


def about(
    pending: Pending,
    transition: Transition,
    history: DeliveryHistory,
    now: int,
    **more: Any,  # noqa: ANN401 - the fields' types
) -> RequestEvent:
    """The event of a request's transition, with more of its fields."""
    return events.transition_event(
        pending.command,
        transition,
        round_=history.round,
        time=now,
        attempt=history.attempt,
        dry_run=pending.dry_run,
        **more,
    )


def accepted(pending: Pending, now: int) -> Message:
    """The event that carries the command, and the broker user that sent it, into the audit."""
    made = about(pending, Transition.ACCEPTED, pending.history, now)
    return event(replace(made, sender=pending.delivery.sender))


def retried(pending: Pending, cause: Cause, now: int) -> tuple[str, list[Message]]:
    """The next tier; the request on its way there with one more failed attempt, and the event."""
    history = pending.history.failed(cause, now)
    tier = _BY_ATTEMPT[min(history.attempt, len(_BY_ATTEMPT)) - 1]
    rest = topology.RETRY_TIERS[tier]
    made = about(pending, Transition.RETRIED, history, now, cause=cause, retry_in=rest)
    return tier, [_to(tier, pending, history), event(made)]


def parked(
    pending: Pending, cause: Cause, tier: str, now: int, *, told: bool = False
) -> list[Message]:
    """The request on its way to a tier with its attempts unchanged; the event unless that was `told`."""
    history = replace(pending.history, parked=pending.history.parked + 1)
    rest = topology.RETRY_TIERS[tier]
    made = about(pending, Transition.PARKED, history, now, cause=cause, retry_in=rest)
    return [_to(tier, pending, history), *([] if told else [event(made)])]


def dead_letter(delivery: Delivery, history: DeliveryHistory, cause: Cause, now: int) -> Message:
    """The request as it came, with the final cause in its headers."""
    return Message(
        topology.DEAD_LETTERS,
        delivery.routing_key,
        delivery.body,
        delivery.message_id or "unknown",
        headers={**_headers(delivery, history), **final_cause(delivery.queue, cause, now)},
    )


def refused(pending: Pending, cause: Cause, now: int) -> Notice:
    """The alarm about a request that cannot even be tried: the installation is set up wrong.

    About a clock that is ahead, it is the same one for an hour: that concerns every request.
    """
    command = pending.command
    is_ahead = cause.error == IMPLAUSIBLE
    return Notice(
        name="alarm.request_refused",
        cluster=command.cluster,
        subject=command.cluster if is_ahead else command.node,
        key=str(now // (3600 * 10**9)) if is_ahead else f"{pending.id}/{pending.history.round}",
        time=now,
        message=cause.message,
        remedy="see lamplighter clock show"
        if is_ahead
        else "remove the cause, then replay the dead letter",
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


def node_end(node: PendingNode, finish: Finish, now: int) -> NodeEnd:
    """What the store keeps of a finished node; `now` in ns since the epoch."""
    overtaken, bake = node.is_overtaken, node.baking
    server, image = finish.server, None
    status = server.status if server else finish.cause.error if finish.cause else "NONE"
    if bake is not None and node.image_id is not None:
        image = GroupImage.of(bake, node.group_name, node.image_id, now)
    seen = None if overtaken else (server.id if server else None, status)
    return NodeEnd(
        node.row.generation,
        outcomes(node, finish, now),
        seen,
        reached=finish.transition is Transition.COMPLETED and not overtaken,
        image=image,
    )


def outcomes(node: PendingNode, finish: Finish, now: int) -> tuple[RequestEvent, ...]:
    """The terminal events of the requests that wait for the node; `now` in ns since the epoch.

    A request for the opposite of the desired state is superseded: its generation is lower, or it
    would be the desired state. So is a bake by a later one: each names its own image.
    """
    return tuple([_outcome(node, request, finish, now) for request in node.requests])


def _outcome(node: PendingNode, request: Pending, finish: Finish, now: int) -> RequestEvent:
    row, desired = node.row, request.command.desired
    agrees = request.id == row.request_id if desired is Desired.BAKED else desired is row.desired
    if node.is_overtaken or not agrees:
        words = f"generation {row.generation} wants the node {row.desired}"
        finish = replace(finish, transition=Transition.SUPERSEDED, cause=Cause("superseded", words))
    server = finish.server
    is_up = row.desired is Desired.UP and not request.dry_run
    return about(
        request,
        finish.transition,
        request.history,
        now,
        cloud=node.group.cloud,
        server_id=server.id if server else row.server_id,
        address=node_address(server, node.group) if server and is_up else None,
        image_id=node.image_id if finish.transition is Transition.COMPLETED else None,
        cause=finish.cause,
        actions=tuple(node.actions.get(request.key, ())),
    )


def _to(tier: str, pending: Pending, history: DeliveryHistory) -> Message:
    sent, named = pending.delivery, _headers(pending.delivery, history)
    # the tier's fanout ignores the key; the message returns with it to the work queue
    return Message(tier, sent.routing_key, sent.body, pending.id, headers=named)


def _headers(delivery: Delivery, history: DeliveryHistory) -> dict[str, str | int]:
    """A request's headers when we publish it again: its authority stays that of its first sender."""
    asked_by = {headers.ASKED_BY: delivery.sender} if delivery.sender is not None else {}
    return {**history.to_headers(), **asked_by}
