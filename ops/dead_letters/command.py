"""`lamplighter dead-letters`: lists, explains and exports requests that failed permanently."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ops.cli.files import output
from ops.cli.options import count, json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import json_line, plural, print_items, print_json, print_line
from ops.dead_letters import select
from ops.dead_letters.context import look_up_context
from ops.dead_letters.describe import description
from ops.dead_letters.filters import filter_options, letter_filter
from ops.dead_letters.groups import COLUMNS as GROUP_COLUMNS
from ops.dead_letters.groups import FEW, KEYS, LetterGroup, grouped
from ops.dead_letters.resolve import (
    discard,
    find_letters,
    print_letters,
    print_letters_json,
    replay,
    stale_words,
)
from ops.dead_letters.select import LetterFilter, Places

_EACH = "letter"
_LIST_KEYS = (_EACH, *KEYS)


@click.group("dead-letters")
def dead_letters() -> None:
    """Handle requests that failed permanently: replay or discard them."""


dead_letters.add_command(replay)
dead_letters.add_command(discard)


@dead_letters.command("list", short_help="List dead letters, one by one or by group.")
@json_option("dead letter or group")
@click.option(
    "--by",
    type=click.Choice(_LIST_KEYS),
    metavar="KEY",
    help=f"Print one line per {', '.join(_LIST_KEYS)}. Default: letter, or cause for more than {FEW}.",
)
@click.option("--limit", type=count(0), help="List single dead letters, the oldest ones only.")
@filter_options
@pass_session
def list_(
    session: Session,
    /,
    *,
    as_json: bool,
    by: str | None,
    limit: int | None,
    **options: Any,  # noqa: ANN401 - see letter_filter
) -> None:
    """List dead letters, oldest first, one by one or by group.

    ID may be the beginning of an id. Exit code 3: the list may lack letters, because a queue of requests
    has no quorum.
    """
    found = find_letters(session, letter_filter(session.settings, **options))
    if by is None:
        by = _EACH if as_json or limit is not None or len(found) <= FEW else "cause"
    if by != _EACH:
        groups = grouped(found, by, Places.of(session.settings))
        print_items(
            groups, GROUP_COLUMNS, LetterGroup.as_json, empty="no dead letters", as_json=as_json
        )
        lines = [
            f"{plural(len(found), 'dead letter')}; list each: --by letter; filter: --cause, --message"
        ]
    else:
        shown = found[:limit]
        if as_json:
            print_letters_json(session, shown)
        hidden = len(found) - len(shown)
        lines = [f"... and {hidden} more"] if hidden else []
        if not as_json and (stale := print_letters(session, shown)):
            lines.append(
                f"{stale_words(stale)}; end them: lamplighter dead-letters discard --stale"
            )
        causes = Counter(letter.cause.error for letter in found)
        lines += [f"{count} of {cause}" for cause, count in causes.most_common()]
    for line in () if as_json else lines:
        print_line(line)
    # a request that fails for good in such a queue cannot become a dead letter
    session.prove_health(session.depths())


@dead_letters.command(short_help="Explain one dead letter.")
@click.argument("id_", metavar="ID")
@json_option()
@click.option("--raw", type=click.Path(path_type=Path), help="Write the message body to this file.")
@pass_session
def show(session: Session, /, *, id_: str, as_json: bool, raw: Path | None) -> None:
    """Explain one dead letter: the request, each attempt, the current state, the effect of a replay."""
    found = find_letters(session, LetterFilter(ids=(id_,)))
    letter = found[-1]
    if raw is not None:
        raw.write_bytes(letter.body)
    known = look_up_context(session, letter.command)
    if as_json:
        print_json({**select.as_json(letter), **known.as_json(letter.command)})
        return
    for line in description(letter, known, time.time_ns()):
        print_line(line)
    if len(found) > 1:
        print_line(f"copies     {len(found)}: replay and discard apply to all of them")


@dead_letters.command(short_help="Write dead letters to a file.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@filter_options
@pass_session
def export(session: Session, /, *, file: Path, **options: Any) -> None:  # noqa: ANN401 - see letter_filter
    """Write dead letters to FILE (- for standard output), one JSON object per line.

    Message bodies are in base64. The dead letters stay in their queue. FILE must not exist yet.
    ID may be the beginning of an id.
    """
    found = find_letters(session, letter_filter(session.settings, **options))
    with output(file) as out:
        out.writelines(f"{json_line(select.exported(letter))}\n" for letter in found)
    if str(file) != "-":
        click.echo(f"wrote {plural(len(found), 'dead letter')} to {file}", err=True)
