"""Which letters are still undecided, and the result for each letter. Pure."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.dead_letters import messages
from ops.dead_letters.letter import Letter
from producers.message import Message
from schemas.commands import PowerCommand
from schemas.envelope import parse
from schemas.events import Transition, event_from
from workers.broker import outgoing
from workers.store.requests import RoundKey, RoundOutcome


class LetterOutcome(enum.StrEnum):
    """What happened to a letter; only a refused one is still in its queue."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"
    RESTAMPED = "restamped"
    DROPPED = "dropped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class LetterResult:
    """What happened to a letter, and why if it is not what the operator requested."""

    letter: Letter
    done: LetterOutcome
    why: str = ""


def separate(letters: Sequence[Letter]) -> tuple[list[Letter], list[Letter]]:
    """The letters that are requests or unreadable, and the events that webhooks did not accept."""
    undelivered = [letter for letter in letters if letter.undelivered is not None]
    return [letter for letter in letters if letter.undelivered is None], undelivered


def sort(
    batch: Sequence[Letter], ends: Mapping[RoundKey, RoundOutcome]
) -> tuple[list[Letter], list[tuple[Letter, RoundOutcome]], list[tuple[Letter, PowerCommand]]]:
    """The malformed letters, those with a decision already, and the undecided ones.

    `ends` has the outcomes of the rounds they failed in, and of the rounds after those.
    """
    malformed: list[Letter] = []
    decided: list[tuple[Letter, RoundOutcome]] = []
    undecided: list[tuple[Letter, PowerCommand]] = []
    for letter in batch:
        if letter.command is None:
            malformed.append(letter)
            continue
        failed = ends.get((letter.command.id, letter.round))
        after = ends.get((letter.command.id, letter.round + 1))
        if failed is not None and failed.transition is not Transition.FAILED:
            decided.append((letter, failed))
        elif after is not None:
            decided.append((letter, after))
        else:
            undecided.append((letter, letter.command))
    return malformed, decided, undecided


def missing_outcome(letter: Letter, ends: Mapping[RoundKey, RoundOutcome]) -> list[Message]:
    """The end of the round that the letter failed in, if no worker has published it."""
    if not letter.by_broker or letter.command is None:
        return []
    return [outgoing.stored(ends[letter.command.id, letter.round].event)[1]]


def result(
    letter: Letter, done: LetterOutcome, refused: Mapping[int, str], why: str = ""
) -> LetterResult:
    """The result, unless one of the letter's messages was refused."""
    if letter.tag in refused:
        return LetterResult(letter, LetterOutcome.REFUSED, refused[letter.tag])
    return LetterResult(letter, done, why)


def discard_result(letter: Letter, body: bytes, refused: Mapping[int, str]) -> LetterResult:
    """The result of a discard, whose stored outcome is `body`: it may be an earlier decision."""
    event = event_from(parse(body))
    replacement = messages.replacement(letter, event)
    if replacement is not None:
        return result(letter, LetterOutcome.RESTAMPED, refused, f"replaced by {replacement.id}")
    if event.transition is Transition.DISCARDED:
        return result(letter, LetterOutcome.DISCARDED, refused)
    return dropped(letter, event.transition, refused)


def dropped(letter: Letter, transition: Transition, refused: Mapping[int, str]) -> LetterResult:
    """The result of a letter whose request has continued or ended."""
    why = f"the request is {transition} already"
    return result(letter, LetterOutcome.DROPPED, refused, why)


def unreadable(letter: Letter) -> LetterResult:
    """A letter that cannot be read cannot be replayed."""
    why = f"it can only be discarded: {letter.problem}"
    return LetterResult(letter, LetterOutcome.REFUSED, why)
