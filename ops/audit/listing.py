"""`lamplighter audit list`, `tail` and `show`: the latest events, and the history of a request."""

import time
from collections.abc import Sequence
from typing import Any

import click

from ops.audit.filters import filter_of, filter_options
from ops.audit.records import COLUMNS, as_json, row
from ops.cli.session import Session, pass_session
from ops.cli.terminal import duration, moment, print_json, print_line, print_table
from ops.history.job_start import job_start
from ops.history.request import request_history
from workers.audit.queries import Entry, find, last_seq, request_records

_POLL_SECONDS = 0.5


@click.command("list")
@filter_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, help="Number of events (default 100)."
)
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line.")
@pass_session
def list_(session: Session, /, *, limit: int, as_json_: bool, **options: Any) -> None:  # noqa: ANN401 - see filter_of
    """List the latest events, in the order they happened."""
    with session.reading("audit") as connection:
        _print(find(connection, filter_of(limit=limit, **options)), as_json_=as_json_)


@click.command
@filter_options
@click.option("-f", "--follow", is_flag=True, help="Follow new events until Ctrl-C.")
@click.option(
    "-n", "lines", type=click.IntRange(min=0), default=10, help="Number of events (default 10)."
)
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line.")
@pass_session
def tail(
    session: Session,
    /,
    *,
    follow: bool,
    lines: int,
    as_json_: bool,
    **options: Any,  # noqa: ANN401 - see filter_of
) -> None:
    """Show the last events, one a line; with -f follow new ones."""
    with session.reading("audit") as connection:
        seen = last_seq(connection)
        shown = find(connection, filter_of(limit=lines, **options)) if lines else []
        # events recorded after last_seq are printed below
        _print_lines([entry for entry in shown if entry.seq <= seen], as_json_=as_json_)
        while follow:
            connection.rollback()  # otherwise PostgreSQL keeps showing the old snapshot
            last = last_seq(connection)
            if last > seen:
                coming = find(connection, filter_of(after=seen, **options))
                _print_lines(sorted(coming, key=lambda entry: entry.seq), as_json_=as_json_)
                seen = max(last, *(entry.seq for entry in coming), seen)
            time.sleep(_POLL_SECONDS)


@click.command
@click.argument("request_id")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line.")
@pass_session
def show(session: Session, request_id: str, *, as_json_: bool) -> None:
    """Show the history of one request: each step, and how long it took."""
    with session.reading("audit") as connection:
        entries = request_records(connection, request_id)
        start = job_start(connection, entries)
    if not entries:
        raise click.ClickException(f"the audit has no request {request_id!r}")
    if as_json_:
        for entry in entries:
            print_json(as_json(entry))
        return
    history = request_history(entries, start)
    steps = history.timeline
    print_line(f"request {request_id}, node {history.node}", style="bold")
    print_table(
        ("time", "offset", "round", "what", "attempt", "details"),
        [
            (
                moment(step.time),
                f"+{duration(step.time - steps[0].time)}",
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
