"""`lamplighter dead-letters`: look at requests that failed for good, replay or discard them."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import click
import sqlalchemy as sa

from ops import letters as chosen
from ops.failures import StoreMissingError
from ops.letters import Choice
from ops.params import hostlist, length
from ops.session import Session, operator, pass_session
from ops.terminal import plain, print_json, print_line, print_table
from workers.dead_letters.desk import MOST, Desk
from workers.dead_letters.letter import Letter
from workers.dead_letters.messages import Operator
from workers.dead_letters.results import Done, Result
from workers.store.tables import nodes

_Act: TypeAlias = Callable[[Desk, sa.Engine, Sequence[Letter], Operator], Iterator[Result]]
_Command: TypeAlias = Callable[..., Any]

# Of letters that are about to be dealt with, the table shows so many.
_ANNOUNCED = 100


def _choice_options(command: _Command) -> _Command:
    """The filters, alike for all commands."""
    for option in (
        click.option("--older-than", "age", type=length, help="Died longer ago than this: 2h."),
        click.option("--job", type=int, help="Asked for this job."),
        click.option("--queue", help="Died in this work queue."),
        click.option("--cause", help="Died of this class of error."),
        click.option("--node", "nodes", type=hostlist, help="Nodes, as a hostlist: node[1-3]."),
        click.option("--id", "more_ids", multiple=True, help="As the arguments."),
        click.argument("ids", nargs=-1),
    ):
        command = option(command)
    return command


def _action_options(command: _Command) -> _Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object a letter."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--all", "everything", is_flag=True, help="All letters."),
    ):
        command = option(command)
    return _choice_options(command)


@click.group("dead-letters")
def dead_letters() -> None:
    """Requests that failed for good, until someone decides."""


@dead_letters.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter; all of them.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    help="Of the table: the oldest so many (100).",
)
@_choice_options
@pass_session
def list_(session: Session, /, *, as_json: bool, limit: int, **options: Any) -> None:  # noqa: ANN401 - see _choice
    """Print the letters, oldest first, and how many there are of each cause.

    IDs may be cut short.
    """
    found = _choice(**options).of(_look(session))
    if as_json:
        for letter in found:
            print_json(chosen.as_json(letter))
        return
    print_table(chosen.COLUMNS, [chosen.row(letter) for letter in found[:limit]])
    if len(found) > limit:
        print_line(f"... and {len(found) - limit} more: use a filter, --limit or --json")
    for cause, count in Counter(letter.cause.error for letter in found).most_common():
        print_line(f"{count} of {cause}")


@dead_letters.command
@click.argument("id_", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--raw", type=click.Path(path_type=Path), help="Write the body to this file.")
@pass_session
def show(session: Session, /, *, id_: str, as_json: bool, raw: Path | None) -> None:
    """Explain one letter: what was asked, each attempt, what a replay would do."""
    found = Choice(ids=(id_,)).of(_look(session))
    if len({letter.id for letter in found}) != 1:
        raise click.ClickException(
            f"{id_!r} names {len(found)} letters, not one: see lamplighter dead-letters list"
        )
    letter = found[0]
    if raw is not None:
        raw.write_bytes(letter.body)
    if as_json:
        print_json(chosen.as_json(letter))
        return
    for line in chosen.description(letter, _desired(session, letter)):
        print_line(line)


@dead_letters.command
@click.option("--reason", help="Why; kept in the audit.")
@_action_options
@pass_session
def replay(session: Session, /, **options: Any) -> None:  # noqa: ANN401 - see _act
    """Send requests again, each in a new round; a request that is out of date does no harm."""
    _act(session, "replay", Desk.replay, **options)


@dead_letters.command
@click.option("--reason", required=True, help="Why; kept in the audit.")
@_action_options
@pass_session
def discard(session: Session, /, **options: Any) -> None:  # noqa: ANN401 - see _act
    """End requests for good; the audit keeps who did so, and why."""
    _act(session, "discard", Desk.discard, **options)


def _act(  # noqa: PLR0913 - one per option
    session: Session,
    verb: str,
    act: _Act,
    *,
    reason: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - see _choice
) -> None:
    choice = _choice(**options)
    if choice.everything and not everything:
        raise click.UsageError("name letters by id or filter, or say --all")
    if dry_run or not yes:
        # Looks first, and gives the letters back: nobody's connection waits while somebody thinks.
        found = choice.of(_look(session))
        if dry_run:
            _announce(found, f"would {verb}", as_json=as_json)
            return
        choice = replace(choice, ids=tuple(sorted({letter.id for letter in found})))
        if not found:
            _announce(found, verb, as_json=as_json)
            return
        if len(found) > 1:
            _announce(found, verb, as_json=False)
            click.confirm(f"{verb} {len(found)} letters?", abort=True, err=True)
    store = session.store()
    counts: Counter[Done] = Counter()
    with session.desk() as desk:
        found = choice.of(desk.letters())
        for result in act(desk, store, found, Operator(operator(), reason)):
            counts[result.done] += 1
            _report(result, as_json=as_json)
    store.dispose()
    if not as_json:
        print_line(", ".join(f"{n} {done}" for done, n in sorted(counts.items())) or "no letters")
    sys.exit(1 if counts[Done.REFUSED] else 0)


def _choice(  # noqa: PLR0913 - one per option
    *,
    ids: tuple[str, ...],
    more_ids: tuple[str, ...],
    nodes: tuple[str, ...] | None,
    cause: str | None,
    queue: str | None,
    job: int | None,
    age: int | None,
) -> Choice:
    return Choice(
        ids=ids + more_ids,
        nodes=nodes,
        cause=cause,
        queue=queue,
        job=job,
        before=None if age is None else time.time_ns() - age,
    )


def _look(session: Session) -> list[Letter]:
    with session.desk() as desk:
        letters = desk.letters()
    if len(letters) == MOST:
        click.echo(f"lamplighter: only the first {MOST} letters were looked at", err=True)
    return letters


def _desired(session: Session, letter: Letter) -> tuple[str, int] | None:
    """The node's desired state and generation; what cannot be asked is only not said."""
    if letter.command is None:
        return None
    query = sa.select(nodes.c.desired, nodes.c.generation).where(
        nodes.c.cluster == session.settings.cluster, nodes.c.node == letter.command.node
    )
    try:
        with session.reading("state") as connection:
            row = connection.execute(query).first()
    except (sa.exc.SQLAlchemyError, StoreMissingError):
        return None
    return None if row is None else (row.desired, row.generation)


def _announce(letters: Sequence[Letter], what: str, *, as_json: bool) -> None:
    if as_json:
        for letter in letters:
            print_json({**chosen.as_json(letter), "would": what.removeprefix("would ")})
        return
    print_table(chosen.COLUMNS, [chosen.row(letter) for letter in letters[:_ANNOUNCED]])
    if len(letters) > _ANNOUNCED:
        print_line(f"... and {len(letters) - _ANNOUNCED} more")
    print_line(f"{what}: {len(letters)} letters")


def _report(result: Result, *, as_json: bool) -> None:
    letter = result.letter
    if as_json:
        print_json({**chosen.as_json(letter), "done": str(result.done), "why": result.why})
        return
    node, kind = chosen.about(letter)
    line = f"{result.done} {letter.id} {node or kind}"
    click.echo(plain(f"{line}: {result.why}" if result.why else line))
