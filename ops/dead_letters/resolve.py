"""`lamplighter dead-letters replay` and `discard`, for one or many dead letters."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import click
import sqlalchemy as sa

from ops.cli.ids import short_ids, whole_id
from ops.cli.options import (
    combine,
    confirm,
    json_option,
    reason_option,
    required_reason_option,
    yes_option,
)
from ops.cli.progress import portions, with_progress
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import plain, plural, print_json, print_line, print_rows, warn
from ops.dead_letters import select
from ops.dead_letters.context import stale_letters
from ops.dead_letters.filters import filter_options, letter_filter
from ops.dead_letters.groups import COLUMNS as GROUP_COLUMNS
from ops.dead_letters.groups import FEW, grouped
from ops.dead_letters.letter import Letter
from ops.dead_letters.messages import Operator
from ops.dead_letters.queue import BATCH, MOST, DeadLetterQueue, dead_letter_queue
from ops.dead_letters.results import LetterOutcome, LetterResult
from ops.dead_letters.select import LetterFilter, Places, key
from ops.nodes.submit import check_hook_directories
from producers import clock

_Act: TypeAlias = Callable[
    [DeadLetterQueue, sa.Engine, Sequence[Letter], Operator], Iterator[LetterResult]
]

# RabbitMQ closes a channel that holds a message for 30 minutes (consumer_timeout).
_HOLD_SECONDS = 900.0

_action_options = combine(
    json_option("dead letter"),
    yes_option,
    click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
    click.option(
        "--rate",
        type=click.FloatRange(min=0, min_open=True),
        help="At most this many dead letters per second.",
    ),
    click.option("--all", "everything", is_flag=True, help="All dead letters."),
    filter_options,
)


@click.command(short_help="Send requests again.")
@reason_option
@click.option(
    "--restamp",
    is_flag=True,
    help="Send as new requests, which supersede every other request, also newer ones of Slurm.",
)
@_action_options
@pass_session
def replay(session: Session, /, *, restamp: bool, **options: Any) -> None:  # noqa: ANN401 - see _act
    """Send requests again, each in a new round. A stale request changes nothing.

    ID may be the beginning of an id. With --restamp, each becomes a new request with a new id and
    generation, and the old request ends as discarded. Use --restamp on the host of the hooks, because it
    uses their clock.
    """
    if not restamp:
        _act(session, "replay", DeadLetterQueue.replay, **options)
        return
    settings = session.settings.hook
    check_hook_directories(settings)
    act = partial(DeadLetterQueue.restamp, stamp=partial(clock.stamp, settings.state))
    _act(session, "restamp", act, **options)


@click.command(short_help="End requests without replay.")
@required_reason_option
@_action_options
@pass_session
def discard(session: Session, /, **options: Any) -> None:  # noqa: ANN401 - see _act
    """End requests without replay. The audit log records the operator and the reason.

    ID may be the beginning of an id.
    """
    _act(session, "discard", DeadLetterQueue.discard, **options)


def find_letters(session: Session, wanted: LetterFilter) -> list[Letter]:
    """The dead letters that match; they are back in their queue when this returns.

    Raises:
        AmbiguousIdError: an id is the beginning of several.
        click.ClickException: an id is that of no dead letter.
    """
    with dead_letter_queue(session) as queue:
        letters = _all_letters(queue)
    return _chosen(session, wanted, letters)


def _all_letters(queue: DeadLetterQueue) -> list[Letter]:
    letters = queue.letters()
    if queue.is_shared:
        warn(
            "another command or the console has the dead letters open: those that it holds are missing here"
        )
    if len(letters) == MOST:
        warn(f"only the first {MOST} dead letters were read: repeat the command for the others")
    return letters


def print_letters(session: Session, letters: Sequence[Letter]) -> int:
    """Print a table of letters; returns how many are stale, which are marked."""
    stale = set(map(key, stale_letters(session, letters)))
    short = short_ids(session, [letter.id for letter in letters])
    print_rows(select.columns(short, stale), letters, empty="no dead letters")
    return len(stale)


def print_letters_json(session: Session, letters: Sequence[Letter], **more: object) -> None:
    """Print a JSON object for each letter, with more fields, and whether it is stale."""
    stale = set(map(key, stale_letters(session, letters)))
    for letter in letters:
        print_json({**select.as_json(letter), **more, "stale": key(letter) in stale})


def _chosen(session: Session, wanted: LetterFilter, letters: Sequence[Letter]) -> list[Letter]:
    known = {letter.id for letter in letters}
    for id_ in wanted.ids:
        if whole_id(id_, known) not in known:
            raise click.ClickException(
                f"{id_!r} is not the id of a dead letter: see lamplighter dead-letters list --by letter"
            )
    found = wanted.of(letters)
    return stale_letters(session, found, required=True) if wanted.stale else found


def _act(  # noqa: PLR0913 - one per option
    session: Session,
    verb: str,
    act: _Act,
    *,
    reason: str | None,
    rate: float | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - see letter_filter
) -> None:
    wanted = letter_filter(session.settings, **options)
    if wanted.everything and not everything:
        raise click.UsageError("name dead letters by id or by filter, or use --all")
    if dry_run or not yes:
        # the letters go back to their queue, so that no connection holds them while the operator decides
        found = find_letters(session, wanted)
        if dry_run or not found:
            _print_plan(session, found, verb, as_json=as_json)
            if found and not as_json:
                print_line(f"would {verb}: {plural(len(found), 'dead letter')}")
            return
        ids, wanted = wanted.ids, _only(found)
        if not ids or len(found) > 1:
            _print_plan(session, found, verb, as_json=False)
            confirm(f"{verb} {plural(len(found), 'dead letter')}", yes=yes)
    results = _carry_out(session, act, wanted, Operator(operator(), reason), rate)
    counts = _print_results(results, as_json=as_json)
    if not as_json:
        sums = ", ".join(f"{count} {done}" for done, count in sorted(counts.items()))
        print_line(sums or "no dead letters")
    sys.exit(1 if counts[LetterOutcome.REFUSED] else 0)


def _only(letters: Sequence[Letter]) -> LetterFilter:
    return LetterFilter(only=frozenset(map(key, letters)))


def _carry_out(
    session: Session, act: _Act, wanted: LetterFilter, who: Operator, rate: float | None
) -> Iterator[tuple[int, LetterResult]]:
    """Each result, with the number of letters to handle."""
    refused: set[tuple[str, int]] = set()
    total, unfinished = 0, True
    with session.store("state") as store:
        while unfinished:
            with dead_letter_queue(session) as queue:
                letters = _chosen(session, wanted, _all_letters(queue))
                found = [letter for letter in letters if key(letter) not in refused]
                total = total or len(found)
                # a letter that has died again since then needs another decision
                wanted = _only(found)
                deadline, unfinished = time.monotonic() + _HOLD_SECONDS, False
                for portion in portions(found, BATCH, rate):
                    # after the deadline, return the rest to the queue, then read it again
                    if unfinished := time.monotonic() > deadline:
                        break
                    for result in act(queue, store, portion, who):
                        if result.done is LetterOutcome.REFUSED:
                            refused.add(key(result.letter))
                        yield total, result


def _print_results(
    results: Iterator[tuple[int, LetterResult]], *, as_json: bool
) -> Counter[LetterOutcome]:
    """Print each result as it arrives; returns the counts."""
    counts: Counter[LetterOutcome] = Counter()
    for result, on_a_bar in with_progress(results, "dead letters", hidden=as_json):
        counts[result.done] += 1
        if as_json:
            shown = select.as_json(result.letter)
            print_json({**shown, "done": str(result.done), "why": result.why})
        elif not on_a_bar or result.done is LetterOutcome.REFUSED:
            node, kind = select.about(result.letter)
            why = f": {result.why}" if result.why else ""
            click.echo(plain(f"{result.done} {result.letter.id} {node or kind}{why}"))
    return counts


def _print_plan(session: Session, letters: Sequence[Letter], verb: str, *, as_json: bool) -> None:
    if as_json:
        print_letters_json(session, letters, would=verb)
        return
    if len(letters) <= FEW:
        stale_count = print_letters(session, letters)
    else:
        stale_count = len(stale_letters(session, letters))
        groups = grouped(letters, "cause", Places.of(session.settings))
        print_rows(GROUP_COLUMNS, groups, empty="no dead letters")
    if stale_count:
        print_line(stale_words(stale_count))


def stale_words(count: int) -> str:
    """How many letters are stale, and what that means."""
    return f"{count} are stale: a newer request wants another state of the node"
