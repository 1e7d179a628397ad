"""Which letters wait for a decision, and what became of each. Pure."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from producers.message import Message
from schemas.commands import PowerCommand
from schemas.envelope import parse
from schemas.events import Transition, event_from
from workers.broker import outgoing
from workers.dead_letters import messages
from workers.dead_letters.letter import Letter
from workers.store.requests import RoundKey, RoundOutcome


class Done(enum.StrEnum):
    """What became of a letter; only a refused one is still there."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"
    RESTAMPED = "restamped"
    DROPPED = "dropped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a letter, and why where it is not what was asked for."""

    letter: Letter
    done: Done
    why: str = ""


def sort(
    batch: Sequence[Letter], ends: Mapping[RoundKey, RoundOutcome]
) -> tuple[list[Letter], list[tuple[Letter, RoundOutcome]], list[tuple[Letter, PowerCommand]]]:
    """The malformed letters, those dealt with already, and those that wait for a decision.

    Args:
        batch: the letters.
        ends: the outcomes of the rounds they died in, and of those that follow.
    """
    malformed: list[Letter] = []
    gone: list[tuple[Letter, RoundOutcome]] = []
    alive: list[tuple[Letter, PowerCommand]] = []
    for letter in batch:
        if letter.command is None:
            malformed.append(letter)
            continue
        died = ends.get((letter.command.id, letter.round))
        after = ends.get((letter.command.id, letter.round + 1))
        if died is not None and died.transition is not Transition.FAILED:
            gone.append((letter, died))
        elif after is not None:
            gone.append((letter, after))
        else:
            alive.append((letter, letter.command))
    return malformed, gone, alive


def closing(letter: Letter, ends: Mapping[RoundKey, RoundOutcome]) -> list[Message]:
    """The end of the round that the letter died in, where no worker may have told it."""
    if not letter.by_broker or letter.command is None:
        return []
    return [outgoing.stored(ends[letter.command.id, letter.round].event)[1]]


def result(letter: Letter, done: Done, refused: Mapping[int, str], why: str = "") -> Result:
    """The result, unless a message on the letter's behalf was refused."""
    if letter.tag in refused:
        return Result(letter, Done.REFUSED, refused[letter.tag])
    return Result(letter, done, why)


def ended(letter: Letter, body: bytes, refused: Mapping[int, str]) -> Result:
    """The result of a discard: somebody may have ended the round between our look and our write.

    Args:
        letter: the letter.
        body: the outcome that stands.
        refused: of which letters a message was refused, and why.
    """
    told = event_from(parse(body))
    anew = messages.successor(letter, told)
    if anew is not None:
        return result(letter, Done.RESTAMPED, refused, f"asked anew as {anew.id}")
    if told.transition is Transition.DISCARDED:
        return result(letter, Done.DISCARDED, refused)
    return result(letter, Done.DROPPED, refused, f"the request is {told.transition} already")


def unreadable(letter: Letter) -> Result:
    """What cannot be read cannot be asked again."""
    return Result(letter, Done.REFUSED, f"it can only be discarded: {letter.problem}")
