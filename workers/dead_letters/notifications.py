"""Replays and discards events that a webhook did not accept; they have no round to end. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from producers.message import Message
from schemas import headers
from schemas.events import Transition
from schemas.notices import Notice
from workers.broker import outgoing, topology
from workers.dead_letters.letter import Letter, Undelivered
from workers.dead_letters.messages import Operator


def separate(letters: Iterable[Letter]) -> tuple[list[Letter], list[Letter]]:
    """The letters that are requests or unreadable, and the events that webhooks did not accept."""
    requests: list[Letter] = []
    undelivered: list[Letter] = []
    for letter in letters:
        (requests if letter.undelivered is None else undelivered).append(letter)
    return requests, undelivered


def stages(
    letters: Sequence[Letter], transition: Transition, cluster: str, operator: Operator, now: int
) -> list[Mapping[int, Sequence[Message]]]:
    """The operator's decision for the audit, and then, for a replay, the events for the webhooks.

    Args:
        letters: events that webhooks did not accept.
        transition: `replayed` or `discarded`.
        cluster: the cluster of the letters.
        operator: who decides, and why.
        now: ns since the epoch.
    """
    events = [(each, each.undelivered) for each in letters if each.undelivered is not None]
    decisions = {
        letter.tag: [
            outgoing.event(_notice(letter, undelivered, transition, cluster, operator, now))
        ]
        for letter, undelivered in events
    }
    if transition is not Transition.REPLAYED:
        return [decisions]
    return [decisions, {letter.tag: [_again(letter, event)] for letter, event in events}]


def _again(letter: Letter, undelivered: Undelivered) -> Message:
    """The event, byte for byte, for the webhook that did not accept it."""
    return Message(
        topology.REQUEUE,
        topology.NOTIFY_AGAIN,
        letter.body,
        undelivered.event.id,
        headers={headers.WEBHOOK: undelivered.webhook, headers.ROUND: letter.round + 1},
    )


def _notice(  # noqa: PLR0913, PLR0917 - the fields of the audit's record
    letter: Letter,
    undelivered: Undelivered,
    transition: Transition,
    cluster: str,
    operator: Operator,
    now: int,
) -> Notice:
    event = undelivered.event
    return Notice(
        name=f"message.{transition}",
        cluster=cluster,
        subject=undelivered.webhook,
        key=f"{event.id}/{letter.round + 1}",
        time=now,
        message=f"{event.type} of {event.subject}: {transition} by {operator.name}",
        remedy="none",
        details={"event_id": event.id, **operator.details},
    )
