"""Messages for tests, as producers and workers send them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from producers.message import Message
from schemas import headers
from schemas.commands import Kind, PowerCommand, WaitingJob
from schemas.envelope import rfc3339
from schemas.events import Cause, RequestEvent, Transition, transition_event
from workers.broker import topology

if TYPE_CHECKING:
    from collections.abc import Mapping

CORRELATION = "0123456789abcdef0123456789abcdef"
# 2026-01-02T03:04:05.678901Z
MOMENT = 1_767_323_045_678_901_000


def command(
    node: str = "node1",
    *,
    kind: Kind = Kind.RESUME,
    generation: int = MOMENT,
    jobs: tuple[int, ...] = (4711,),
    cluster: str = "test",
) -> PowerCommand:
    """A power command, as a hook sends it."""
    return PowerCommand(
        kind=kind,
        cluster=cluster,
        node=node,
        generation=generation,
        correlation_id=CORRELATION,
        expiry=generation + 600 * 10**9,
        jobs=tuple(WaitingJob(job, features="gpu", partition="cloud") for job in jobs),
        origin="controller",
        image="prepared" if kind is Kind.BAKE else None,
    )


def event(
    transition: Transition,
    asked: PowerCommand | None = None,
    *,
    round_: int = 1,
    time: int = MOMENT + 10**9,
    cause: Cause | None = None,
) -> RequestEvent:
    """An event about a command."""
    return replace(
        transition_event(asked or command(), transition, round_=round_, time=time), cause=cause
    )


def published(sent: RequestEvent) -> Message:
    """An event as the message that the audit receives."""
    return Message(
        topology.EVENTS, sent.transition.routing_key, sent.to_envelope().to_json(), sent.id
    )


def dead_letter(
    asked: PowerCommand,
    *,
    cause: str = "quota",
    round_: int = 1,
    died_at: int = MOMENT + 20 * 10**9,
    more: Mapping[str, str | int] | None = None,
) -> Message:
    """A command as the power worker dead-letters it after one failed attempt."""
    return Message(
        topology.DEAD_LETTERS,
        asked.kind.routing_key,
        asked.to_envelope().to_json(),
        asked.id,
        headers={
            headers.ATTEMPT: 1,
            headers.ROUND: round_,
            headers.PARKED: 0,
            headers.ERRORS: (
                f'[{{"attempt":1,"time":"{rfc3339(MOMENT)}","error":"{cause}",'
                '"message":"no room left"}]'
            ),
            headers.DIED_IN: (
                topology.RESUME_QUEUE if asked.kind is Kind.RESUME else topology.SUSPEND_QUEUE
            ),
            headers.CAUSE: cause,
            headers.CAUSE_MESSAGE: "no room left",
            headers.DIED_AT: rfc3339(died_at),
            **(more or {}),
        },
    )
