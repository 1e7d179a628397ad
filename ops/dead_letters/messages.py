"""The events, commands and notices that a replay or a discard publishes. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ops.dead_letters.letter import Letter
from producers.message import Message
from schemas import headers
from schemas.commands import Kind, PowerCommand
from schemas.events import RequestEvent, Transition, transition_event
from schemas.notices import Notice
from schemas.numbers import MOST
from workers.broker import outgoing, topology
from workers.broker.delivery import DeliveryHistory


@dataclass(frozen=True, slots=True)
class Operator:
    """Who decides and why, for the audit."""

    name: str
    reason: str | None = None

    @property
    def details(self) -> dict[str, str]:
        """For a notice."""
        return {"by": self.name, **({"reason": self.reason} if self.reason else {})}


def failed_by_broker(letter: Letter, command: PowerCommand, now: int) -> RequestEvent:
    """The end of a round that no worker ended, because the broker gave up the delivery."""
    event = transition_event(
        command,
        Transition.FAILED,
        round_=letter.round,
        time=letter.died_at or now,
        attempt=len(letter.failures),
    )
    return replace(event, cause=letter.cause)


def replayed(letter: Letter, command: PowerCommand, operator: Operator, now: int) -> RequestEvent:
    """The operator's decision: the first event of a new round."""
    event = transition_event(command, Transition.REPLAYED, round_=letter.round + 1, time=now)
    return replace(event, by=operator.name, reason=operator.reason)


def discarded(
    letter: Letter, command: PowerCommand, operator: Operator, now: int, restamped: int | None
) -> RequestEvent:
    """The operator's decision: the only event of a new round; names the replacement's generation."""
    event = transition_event(command, Transition.DISCARDED, round_=letter.round + 1, time=now)
    return replace(event, by=operator.name, reason=operator.reason, restamped=restamped)


def again(letter: Letter, command: PowerCommand) -> Message:
    """The command, byte for byte, for the queue where it failed; with its first sender's authority."""
    return Message(
        topology.REQUEUE,
        command.kind.routing_key,
        letter.body,
        command.id,
        headers={
            **DeliveryHistory(round=letter.round + 1).to_headers(),
            **({headers.ASKED_BY: letter.asked_by} if letter.asked_by else {}),
        },
    )


def outcome_messages(letter: Letter, body: bytes) -> list[Message]:
    """An operator's stored outcome as a message; for a restamp the replacement comes first.

    Only the power worker publishes its outcomes, which it does before it acknowledges. The bytes
    are the same each time, so a repetition can complete the work of a killed process.
    """
    event, message = outgoing.stored(body)
    if event.transition is not Transition.DISCARDED:
        return []
    command = replacement(letter, event)
    return [message] if command is None else [outgoing.command(command), message]


def replacement(letter: Letter, event: RequestEvent) -> PowerCommand | None:
    """The request that replaces the letter's, or None."""
    command, generation = letter.command, event.restamped
    if command is None or generation is None:
        return None
    note = f"by {event.by}, replaces {command.id}"
    expiry = command.expiry
    if command.kind is Kind.RESUME:
        expiry = None  # slurmctld does not call now: a server that runs must not boot again
    elif expiry is not None:  # the same time after the request as before
        expiry = min(max(0, expiry + generation - command.time), MOST)
    return replace(
        command,
        generation=generation,
        called=generation,
        expiry=expiry,
        note=f"{note}: {event.reason}" if event.reason else note,
    )


def malformed_discarded(letter: Letter, cluster: str, operator: Operator, now: int) -> Message:
    """The notice that a malformed letter, which belongs to no request, was discarded."""
    digest = hashlib.sha256(letter.body).hexdigest()
    notice = Notice(
        name="message.discarded",
        cluster=cluster,
        subject=letter.died_in,
        key=digest,
        time=now,
        message=f"a message was discarded, because it is {letter.fault}: {letter.problem}",
        remedy="none; find out who sent it",
        details={"sha256": digest, **operator.details},
    )
    return outgoing.event(notice)


def events_decided(
    letters: Sequence[Letter], decision: Transition, cluster: str, operator: Operator, now: int
) -> dict[int, list[Message]]:
    """The notices, by tag, of the decision about events that webhooks did not accept: no round ends."""
    notices: dict[int, list[Message]] = {}
    for letter in letters:
        if letter.undelivered is not None:
            event = letter.undelivered.event
            notice = Notice(
                name=f"message.{decision}",
                cluster=cluster,
                subject=letter.undelivered.webhook,
                key=f"{event.id}/{letter.round + 1}",
                time=now,
                message=f"{event.type} of {event.subject}: {decision} by {operator.name}",
                remedy="none",
                details={"event_id": event.id, **operator.details},
            )
            notices[letter.tag] = [outgoing.event(notice)]
    return notices


def events_again(letters: Sequence[Letter]) -> dict[int, list[Message]]:
    """The events, by tag, byte for byte, each for the webhook that did not accept it."""
    return {
        letter.tag: [
            Message(
                topology.REQUEUE,
                topology.NOTIFY_AGAIN,
                letter.body,
                letter.undelivered.event.id,
                headers={
                    headers.WEBHOOK: letter.undelivered.webhook,
                    headers.ROUND: letter.round + 1,
                },
            )
        ]
        for letter in letters
        if letter.undelivered is not None
    }
