"""`lamplighter audit list`, `tail` and `show`: the latest events, and the history of a request."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from ops.audit.filters import filter_of, filter_options
from ops.audit.job_start import job_start
from ops.audit.records import columns, data_of, record_json
from ops.audit.request_history import request_history
from ops.audit.timeline import TimelineStep
from ops.cli.ids import short_ids, whole_request_id
from ops.cli.options import count, json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import (
    duration,
    moment,
    print_items,
    print_json,
    print_line,
    print_rows,
    short_moment,
    warn,
)
from workers.audit.queries import Entry, conflicts, find, last_seq, request_records

_POLL_SECONDS = 0.5


@click.command("list")
@filter_options
@click.option("--limit", type=count(1), default=100, help="Number of events (default 100).")
@json_option("event")
@pass_session
def list_(session: Session, /, *, limit: int, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - see filter_of
    """List the latest events, in the order they happened."""
    with session.reading("audit") as connection:
        found = find(connection, filter_of(connection, limit=limit, **options))
    short = {} if as_json else _short(session, found)
    print_items(found, columns(short), record_json, empty="no events", as_json=as_json)


@click.command
@filter_options
@click.option("-f", "--follow", is_flag=True, help="Follow new events until Ctrl-C.")
@click.option("-n", "lines", type=count(0), default=10, help="Number of events (default 10).")
@json_option("event")
@pass_session
def tail(session: Session, /, *, follow: bool, lines: int, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - see filter_of
    """Show the last events, one a line; with -f follow new ones."""
    with session.reading("audit") as connection:
        wanted = filter_of(connection, **options)
        seen = last_seq(connection)
        found = find(connection, replace(wanted, limit=lines)) if lines else []
        # events recorded after last_seq are printed below
        shown = [x for x in found if x.seq <= seen]
        if not shown and lines and not as_json:
            print_line("no events yet" if follow else "no events")
        _print_lines(session, shown, as_json=as_json)
        while follow:
            connection.rollback()  # otherwise PostgreSQL keeps showing the old snapshot
            last = last_seq(connection)
            if last > seen:
                coming = find(connection, replace(wanted, after=seen))
                coming.sort(key=lambda entry: entry.seq)
                _print_lines(session, coming, as_json=as_json)
                seen = max(last, *(entry.seq for entry in coming), seen)
            time.sleep(_POLL_SECONDS)


@click.command
@click.argument("request_id")
@json_option("event")
@pass_session
def show(session: Session, request_id: str, *, as_json: bool) -> None:
    """Show the history of one request: each step, and how long it took.

    REQUEST_ID may be the beginning of an id.
    """
    with session.reading("audit") as connection:
        request_id = whole_request_id(connection, request_id)
        entries = request_records(connection, request_id)
        contradicting = conflicts(connection, request_id)
        start = job_start(connection, entries)
    if not entries:
        raise click.ClickException(f"the audit has no request {request_id!r}")
    if as_json:
        _print_lines(session, [*entries, *contradicting], as_json=True)
        return
    history = request_history(entries, start)
    print_line(f"request {request_id}, node {history.node}", style="bold")
    print_rows(step_columns(history.timeline[0].time), history.timeline, empty="no steps")
    for entry in contradicting:
        data, at = data_of(entry), moment(entry.time)
        warn(f"CONFLICT: {at}: {data['type']} came from {entry.sender}: {data['reason']}")


def step_columns(start: int) -> dict[str, Callable[[TimelineStep], object]]:
    """The columns of a request's steps; offsets are from `start`, ns since the epoch."""
    return {
        "time": lambda step: short_moment(step.time),
        "offset": lambda step: f"+{duration(step.time - start)}",
        "round": lambda step: step.round,
        "what": lambda step: step.what,
        "attempt": lambda step: step.attempt,
        "details": lambda step: step.details,
    }


def _short(session: Session, entries: Iterable[Entry]) -> Mapping[str, str]:
    return short_ids(session, {entry.request_id for entry in entries if entry.request_id})


def _print_lines(session: Session, entries: Sequence[Entry], *, as_json: bool) -> None:
    cells = columns({} if as_json else _short(session, entries)).values()
    for entry in entries:
        if as_json:
            print_json(record_json(entry))
        else:
            texts = (cell(entry) for cell in cells)
            print_line("  ".join("-" if text is None else str(text) for text in texts))
