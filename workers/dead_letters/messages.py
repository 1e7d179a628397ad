"""What replaying and discarding publishes. Pure."""

import hashlib
from dataclasses import dataclass, replace

from producers.message import Message
from schemas import headers
from schemas.commands import PowerCommand
from schemas.events import Notice, RequestEvent, Transition, about
from workers.broker import outgoing, topology
from workers.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class Operator:
    """Who decides, and why, for the audit."""

    name: str
    reason: str | None = None


def gave_up(letter: Letter, command: PowerCommand, now: int) -> RequestEvent:
    """The end of a round that no worker ended, because the broker gave its delivery up."""
    event = about(
        command,
        Transition.FAILED,
        round_=letter.round,
        time=letter.died_at or now,
        attempt=len(letter.failures),
    )
    return replace(event, cause=letter.cause)


def replayed(letter: Letter, command: PowerCommand, operator: Operator, now: int) -> RequestEvent:
    """The operator's decision: the first event of a new round."""
    event = about(command, Transition.REPLAYED, round_=letter.round + 1, time=now)
    return replace(event, by=operator.name, reason=operator.reason)


def discarded(
    letter: Letter, command: PowerCommand, operator: Operator, now: int, restamped: int | None
) -> RequestEvent:
    """The operator's decision: the only event of a new round; it says what is asked in its stead."""
    event = about(command, Transition.DISCARDED, round_=letter.round + 1, time=now)
    return replace(event, by=operator.name, reason=operator.reason, restamped=restamped)


def again(letter: Letter, command: PowerCommand) -> Message:
    """The command, byte for byte, on its way to the queue where it died."""
    return Message(
        topology.REQUEUE,
        command.kind.routing_key,
        letter.body,
        command.id,
        headers={
            headers.ATTEMPT: 0,
            headers.ROUND: letter.round + 1,
            headers.PARKED: 0,
            headers.ERRORS: "[]",
        },
    )


def ending(letter: Letter, body: bytes) -> list[Message]:
    """All that follows from the outcome that stands: where it was restamped, the new request too.

    The same bytes however often they are made, so that who was killed between may be finished for.
    """
    told, message = outgoing.stored(body)
    anew = successor(letter, told)
    return [message] if anew is None else [outgoing.command(anew), message]


def successor(letter: Letter, told: RequestEvent) -> PowerCommand | None:
    """The request that was asked in the letter's stead, or None where none was."""
    command, generation = letter.command, told.restamped
    if command is None or generation is None:
        return None
    note = f"by {told.by}, in the stead of {command.id}"
    expiry = command.expiry
    if expiry is not None:  # as long after it was asked as the first one's
        expiry = min(max(0, expiry + generation - command.generation), 2**63 - 1)
    return replace(
        command,
        generation=generation,
        expiry=expiry,
        note=f"{note}: {told.reason}" if told.reason else note,
    )


def thrown_away(letter: Letter, cluster: str, operator: Operator, now: int) -> Message:
    """The notice that a malformed letter was discarded; it belongs to no request."""
    digest = hashlib.sha256(letter.body).hexdigest()
    notice = Notice(
        name="message.discarded",
        cluster=cluster,
        subject=letter.died_in,
        key=digest,
        time=now,
        message=f"a malformed message was discarded: {letter.problem}",
        remedy="none; find out who sent it",
        details={
            "sha256": digest,
            "by": operator.name,
            **({"reason": operator.reason} if operator.reason else {}),
        },
    )
    return outgoing.event(notice)
