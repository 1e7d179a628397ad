"""`lamplighter dead-letters replay` and `discard`: what to do with letters, many at once or one."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import click
import sqlalchemy as sa

from ops.cli.progress import counted
from ops.cli.rate import portions
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import plain, print_json, print_line, print_table
from ops.dead_letters import select as chosen
from ops.dead_letters.context import stored_nodes
from ops.dead_letters.describe import is_stale
from ops.dead_letters.filters import ChoosingCommand, choice, choice_options
from ops.dead_letters.groups import COLUMNS as GROUP_COLUMNS
from ops.dead_letters.groups import FEW, grouped
from ops.dead_letters.select import Choice, Places, key
from ops.nodes.submit import refuse_to_shut_the_hooks_out
from producers import clock
from producers.settings import ConfigError
from workers.dead_letters.letter import Letter
from workers.dead_letters.messages import Operator
from workers.dead_letters.queue import BATCH, MOST, DeadLetterQueue
from workers.dead_letters.results import Done, Result

_Act: TypeAlias = Callable[
    [DeadLetterQueue, sa.Engine, Sequence[Letter], Operator], Iterator[Result]
]

# RabbitMQ closes the channel of who holds a message for 30 minutes (consumer_timeout).
_HOLD_SECONDS = 900.0


def _action_options(command: ChoosingCommand) -> ChoosingCommand:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object a letter."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Letters/s."),
        click.option("--all", "everything", is_flag=True, help="All letters."),
    ):
        command = option(command)
    return choice_options(command)


@click.command
@click.option("--reason", help="Why; kept in the audit.")
@click.option(
    "--restamp",
    is_flag=True,
    help="Ask anew, above all that was asked since: do it now, whatever Slurm has said meanwhile.",
)
@_action_options
@pass_session
def replay(session: Session, /, *, restamp: bool, **options: Any) -> None:  # noqa: ANN401 - see _act
    """Send requests again, each in a new round; a request that is out of date does no harm.

    With --restamp each becomes a new request, with a new id and generation, and the old one ends
    as discarded. Run it where the hooks run, for their clock.
    """
    if restamp:
        _act(session, "restamp", _restamping(session), **options)
    else:
        _act(session, "replay", DeadLetterQueue.replay, **options)


@click.command
@click.option("--reason", required=True, help="Why; kept in the audit.")
@_action_options
@pass_session
def discard(session: Session, /, **options: Any) -> None:  # noqa: ANN401 - see _act
    """End requests for good; the audit keeps who did so, and why."""
    _act(session, "discard", DeadLetterQueue.discard, **options)


def look(session: Session) -> list[Letter]:
    """All letters, given back at once."""
    with session.desk() as desk:
        letters = desk.letters()
    if len(letters) == MOST:
        click.echo(f"lamplighter: only the first {MOST} letters were looked at", err=True)
    return letters


def _restamping(session: Session) -> _Act:
    """A restamp by the hooks' clock.

    Raises:
        ConfigError: it cannot be used here.
    """
    settings = session.settings.hook
    refuse_to_shut_the_hooks_out(settings)

    def stamp() -> int:
        try:
            return clock.stamp(settings.state)
        except clock.ClockError as error:
            raise ConfigError(str(error)) from None

    return lambda desk, store, letters, who: desk.restamp(store, letters, who, stamp)


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
    **options: Any,  # noqa: ANN401 - see choice
) -> None:
    wanted = choice(session.settings, **options)
    if wanted.everything and not everything:
        raise click.UsageError("name letters by id or filter, or say --all")
    if dry_run or not yes:
        # Looks first, and gives the letters back: nobody's connection waits while somebody thinks.
        found = wanted.of(look(session))
        if dry_run or not found:
            _announce(session, found, verb, as_json=as_json)
            if not as_json:
                print_line(f"would {verb}: {len(found)} letters" if found else "no letters")
            return
        wanted = replace(wanted, only=frozenset(map(key, found)))
        if len(found) > 1:
            _announce(session, found, verb, as_json=False)
            click.confirm(f"{verb} {len(found)} letters?", abort=True, err=True)
    results = _carry_out(session, act, wanted, Operator(operator(), reason), rate)
    counts = _told(results, as_json=as_json)
    if not as_json:
        print_line(", ".join(f"{n} {done}" for done, n in sorted(counts.items())) or "no letters")
    sys.exit(1 if counts[Done.REFUSED] else 0)


def _carry_out(
    session: Session, act: _Act, wanted: Choice, who: Operator, rate: float | None
) -> Iterator[tuple[int, Result]]:
    """Each result, and how many letters there were to deal with."""
    store = session.store()
    refused: set[tuple[str, int]] = set()
    total = 0
    try:
        while True:
            with session.desk() as desk:
                found = [x for x in wanted.of(desk.letters()) if key(x) not in refused]
                total = total or len(found)
                # a letter that has died again since is another decision's
                wanted = replace(wanted, only=frozenset(map(key, found)))
                until = time.monotonic() + _HOLD_SECONDS
                for portion in portions(found, BATCH, rate):
                    for result in act(desk, store, portion, who):
                        if result.done is Done.REFUSED:
                            refused.add(key(result.letter))
                        yield total, result
                    if time.monotonic() > until:
                        break  # give the rest back, and take it again
                else:
                    return
    finally:
        store.dispose()


def _told(results: Iterator[tuple[int, Result]], *, as_json: bool) -> Counter[Done]:
    """Print results as they come; the sums."""
    counts: Counter[Done] = Counter()
    for result, on_a_bar in counted(results, "letters", hidden=as_json):
        counts[result.done] += 1
        if as_json:
            shown = chosen.as_json(result.letter)
            print_json({**shown, "done": str(result.done), "why": result.why})
        elif not on_a_bar or result.done is Done.REFUSED:
            _print_result(result)
    return counts


def _print_result(result: Result) -> None:
    letter = result.letter
    node, kind = chosen.about(letter)
    line = f"{result.done} {letter.id} {node or kind}"
    click.echo(plain(f"{line}: {result.why}" if result.why else line))


def _announce(session: Session, letters: Sequence[Letter], verb: str, *, as_json: bool) -> None:
    known = stored_nodes(session, (x.command.node for x in letters if x.command), [])
    stale = {
        key(x) for x in letters if x.command and is_stale(x.command, known.get(x.command.node))
    }
    if as_json:
        for letter in letters:
            doing = {"would": verb, "stale": key(letter) in stale}
            print_json({**chosen.as_json(letter), **doing})
        return
    if len(letters) <= FEW:
        print_table(chosen.COLUMNS, [chosen.row(letter) for letter in letters])
    else:
        groups = grouped(letters, "cause", Places.of(session.settings))
        print_table(GROUP_COLUMNS, [group.row() for group in groups])
    if stale:
        print_line(f"{len(stale)} are stale: a newer request wants something else of the node")
