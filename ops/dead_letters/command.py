"""`lamplighter dead-letters`: look at requests that failed for good; what to do with them is in decisions."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ops.cli.files import output
from ops.cli.session import Session, pass_session
from ops.cli.terminal import json_line, print_json, print_line, print_table
from ops.dead_letters import select as chosen
from ops.dead_letters.context import around
from ops.dead_letters.describe import description
from ops.dead_letters.filters import choice, choice_options
from ops.dead_letters.groups import COLUMNS as GROUP_COLUMNS
from ops.dead_letters.groups import FEW, KEYS, grouped
from ops.dead_letters.resolve import discard, look, replay
from ops.dead_letters.select import Choice, Places
from workers.dead_letters.letter import Letter

_EACH = "letter"


@click.group("dead-letters")
def dead_letters() -> None:
    """Requests that failed for good, until someone decides."""


dead_letters.add_command(replay)
dead_letters.add_command(discard)


@dead_letters.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter, or a group.")
@click.option(
    "--by",
    type=click.Choice([_EACH, *KEYS]),
    help=f"A line for all that are alike; by default for each letter up to {FEW}, then by cause.",
)
@click.option(
    "--limit", type=click.IntRange(min=0), help="With a line for each letter: the oldest so many."
)
@choice_options
@pass_session
def list_(
    session: Session,
    /,
    *,
    as_json: bool,
    by: str | None,
    limit: int | None,
    **options: Any,  # noqa: ANN401 - see choice
) -> None:
    """Print the letters, oldest first, or by what they have in common.

    IDs may be cut short.
    """
    found = choice(session.settings, **options).of(look(session))
    if as_json and by in {None, _EACH}:
        for letter in found[:limit]:
            print_json(chosen.as_json(letter))
    elif by == _EACH or (by is None and (limit is not None or len(found) <= FEW)):
        _print_each(found, limit)
    else:
        groups = grouped(found, by or "cause", Places.of(session.settings))
        if as_json:
            for group in groups:
                print_json(group.as_json())
            return
        print_table(GROUP_COLUMNS, [group.row() for group in groups])
        print_line(f"{len(found)} letters; each: --by letter; some: --cause NAME, --says WORDS")


def _print_each(found: Sequence[Letter], limit: int | None) -> None:
    print_table(chosen.COLUMNS, [chosen.row(letter) for letter in found[:limit]])
    if limit is not None and len(found) > limit:
        print_line(f"... and {len(found) - limit} more")
    for cause, count in Counter(letter.cause.error for letter in found).most_common():
        print_line(f"{count} of {cause}")


@dead_letters.command
@click.argument("id_", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--raw", type=click.Path(path_type=Path), help="Write the body to this file.")
@pass_session
def show(session: Session, /, *, id_: str, as_json: bool, raw: Path | None) -> None:
    """Explain one letter: what was asked, each attempt, how things stand, what a replay would do."""
    found = Choice(ids=(id_,)).of(look(session))
    if len({letter.id for letter in found}) != 1:
        what = f"begins {len(found)} ids" if found else "is no letter's id"
        raise click.ClickException(f"{id_!r} {what}: see lamplighter dead-letters list --by letter")
    letter = found[-1]
    if raw is not None:
        raw.write_bytes(letter.body)
    known = around(session, letter.command)
    if as_json:
        print_json({**chosen.as_json(letter), **known.as_json(letter.command)})
        return
    for line in description(letter, known, time.time_ns()):
        print_line(line)
    if len(found) > 1:
        print_line(f"copies     {len(found)}: a decision deals with all of them")


@dead_letters.command
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@choice_options
@pass_session
def export(session: Session, /, *, file: Path, **options: Any) -> None:  # noqa: ANN401 - see choice
    """Write letters to FILE (- for standard output), one JSON object a line, bodies in base64.

    They stay in their queue. FILE must not exist yet.
    """
    found = choice(session.settings, **options).of(look(session))
    with output(file) as out:
        out.writelines(f"{json_line(chosen.exported(letter))}\n" for letter in found)
    if str(file) != "-":
        click.echo(f"{len(found)} letters are in {file}", err=True)
