"""`lamplighter audit list`, `show` and `tail`: what happened to which node, and the story of a request."""

import time
from collections.abc import Sequence
from typing import Any

import click

from ops.audit.filters import filter_options, wanted
from ops.audit.records import COLUMNS, as_json, row
from ops.cli.session import Session, pass_session
from ops.cli.terminal import duration, moment, print_json, print_line, print_table
from ops.history.job_start import job_start
from ops.history.timeline import timeline
from workers.audit.queries import Entry, find, last_seq, story

_LOOK = 0.5


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=100, help="The latest so many (100).")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line.")
@pass_session
def list_(session: Session, /, *, limit: int, as_json_: bool, **options: Any) -> None:  # noqa: ANN401 - see wanted
    """Print the latest events, in the order they happened."""
    with session.reading("audit") as connection:
        _print(find(connection, wanted(limit=limit, **options)), as_json_=as_json_)


@click.command
@filter_options
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "lines", type=click.IntRange(min=0), default=10, help="Begin with so many.")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line.")
@pass_session
def tail(
    session: Session,
    /,
    *,
    follow: bool,
    lines: int,
    as_json_: bool,
    **options: Any,  # noqa: ANN401 - see wanted
) -> None:
    """Print the last events, one a line, and those that come."""
    with session.reading("audit") as connection:
        seen = last_seq(connection)
        shown = find(connection, wanted(limit=lines, **options)) if lines else []
        # what has come since that look is shown below
        _print_lines([entry for entry in shown if entry.seq <= seen], as_json_=as_json_)
        while follow:
            connection.rollback()  # or PostgreSQL would go on showing what was
            last = last_seq(connection)
            if last > seen:
                coming = find(connection, wanted(limit=None, after=seen, **options))
                _print_lines(sorted(coming, key=lambda entry: entry.seq), as_json_=as_json_)
                seen = max(last, *(entry.seq for entry in coming), seen)
            time.sleep(_LOOK)


@click.command
@click.argument("request_id")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line.")
@pass_session
def show(session: Session, request_id: str, *, as_json_: bool) -> None:
    """Print the whole story of one request."""
    with session.reading("audit") as connection:
        entries = story(connection, request_id)
        bodies = [entry.body for entry in entries]
        begun = job_start(connection, bodies)
    if not entries:
        raise click.ClickException(f"the audit knows no request {request_id!r}")
    if as_json_:
        for entry in entries:
            print_json(as_json(entry))
        return
    steps = timeline(bodies, begun)
    print_line(f"request {request_id}, node {entries[0].subject}", style="bold")
    start = steps[0].time
    print_table(
        ("time", "offset", "round", "what", "attempt", "details"),
        [
            (
                moment(step.time),
                f"+{duration(step.time - start)}",
                step.round,
                step.what,
                step.attempt,
                step.details,
            )
            for step in steps
        ],
    )


def _print(entries: Sequence[Entry], *, as_json_: bool) -> None:
    if as_json_:
        _print_lines(entries, as_json_=True)
    else:
        print_table(COLUMNS, [row(entry) for entry in entries])


def _print_lines(entries: Sequence[Entry], *, as_json_: bool) -> None:
    for entry in entries:
        if as_json_:
            print_json(as_json(entry))
        else:
            print_line("  ".join("-" if cell is None else str(cell) for cell in row(entry)))
