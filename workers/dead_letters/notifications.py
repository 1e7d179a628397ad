"""What a webhook did not take, replayed or discarded: no request, so there is no round to end."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from producers.message import Message
from schemas import headers
from schemas.events import Notice, Transition
from workers.broker import outgoing, topology
from workers.dead_letters.letter import Letter, Undelivered
from workers.dead_letters.messages import Operator
from workers.dead_letters.results import Done, Result, result

# Publishes what follows from letters, by their tags; the tags of refused ones, and why.
Confirm: TypeAlias = Callable[[Mapping[int, Sequence[Message]]], dict[int, str]]

_DONE = {Transition.REPLAYED: Done.REPLAYED, Transition.DISCARDED: Done.DISCARDED}


def told_apart(letters: Iterable[Letter]) -> tuple[list[Letter], list[Letter]]:
    """The letters that are requests, or unreadable; and those that webhooks did not take."""
    requests: list[Letter] = []
    untaken: list[Letter] = []
    for letter in letters:
        (requests if letter.undelivered is None else untaken).append(letter)
    return requests, untaken


def settle(
    confirm: Confirm,
    letters: Sequence[Letter],
    transition: Transition,
    cluster: str,
    operator: Operator,
) -> list[Result]:
    """Tell the audit of the operator's decision; then, for a replay, tell the webhooks again.

    Args:
        confirm: publishes.
        letters: events that webhooks did not take.
        transition: `replayed` or `discarded`.
        cluster: whose.
        operator: who decides, and why.

    Raises:
        BrokerAwayError: as `confirm`; what has no result yet stays.
    """
    untaken = [(each, each.undelivered) for each in letters if each.undelivered is not None]
    now = time.time_ns()
    refused = confirm(
        {
            letter.tag: [notice(letter, which, transition, cluster, operator, now)]
            for letter, which in untaken
        }
    )
    if transition is Transition.REPLAYED:
        refused |= confirm(
            {
                letter.tag: [again(letter, which)]
                for letter, which in untaken
                if letter.tag not in refused
            }
        )
    return [result(letter, _DONE[transition], refused) for letter, _ in untaken]


def again(letter: Letter, which: Undelivered) -> Message:
    """The event, byte for byte, on its way to the webhook that did not take it."""
    return Message(
        topology.REQUEUE,
        topology.NOTIFY_AGAIN,
        letter.body,
        which.event.id,
        headers={headers.WEBHOOK: which.webhook, headers.ROUND: letter.round + 1},
    )


def notice(  # noqa: PLR0913, PLR0917 - what the audit keeps
    letter: Letter,
    which: Undelivered,
    transition: Transition,
    cluster: str,
    operator: Operator,
    now: int,
) -> Message:
    """The operator's decision, for the audit."""
    told = which.event
    decided = Notice(
        name=f"message.{transition}",
        cluster=cluster,
        subject=which.webhook,
        key=f"{told.id}/{letter.round + 1}",
        time=now,
        message=f"{told.type} of {told.subject}: {transition} by {operator.name}",
        remedy="none",
        details={
            "event_id": told.id,
            "by": operator.name,
            **({"reason": operator.reason} if operator.reason else {}),
        },
    )
    return outgoing.event(decided)
