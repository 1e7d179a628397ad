"""`lamplighter audit why`, `failures` and `slowest`: waits of a job, causes, slow boots."""

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice

import click
import hostlist

from ops.audit.filters import time_options
from ops.audit.listing import step_columns
from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import Columns, duration, moment, print_items, print_line, print_rows
from ops.history.job import job_history
from ops.history.request import RequestHistory, request_history
from ops.history.similarity import error_pattern
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import Cause, RequestEvent, Transition, event_from
from workers.audit.queries import Filter, latest_first, request_records, slowest_first


@click.command
@click.argument("job", type=click.IntRange(min=1))
@json_option("node")
@pass_session
def why(session: Session, job: int, *, as_json: bool) -> None:
    """Explain why a job waited: for each node how long, and what took most of the time."""
    with session.reading("audit") as connection:
        found = list(job_history(connection, job).requests)
    if not found:
        raise click.ClickException(f"the audit has no node that job {job} waited for")
    now = time.time_ns()
    found.sort(key=lambda history: -history.total(now))
    if not as_json:
        print_line(_summary(job, found, now), style="bold")
    columns: Columns[RequestHistory] = {
        **_columns(now, "waited"),
        "outcome": lambda history: history.outcome or "under way",
        "mostly": _mostly,
        "cause": lambda history: history.cause,
    }
    print_items(found, columns, partial(_as_json, now), as_json=as_json)
    if as_json:
        return
    worst = found[0]
    print_line("")
    print_line(f"{worst.node}, request {worst.request_id}", style="bold")
    steps = step_columns(worst.asked)
    del steps["attempt"]
    print_rows(steps, worst.timeline)


def _summary(job: int, found: Sequence[RequestHistory], now: int) -> str:
    worst, wait = found[0], found[0].longest_wait
    spent = f", {duration(wait.length)} of it {wait.what}" if wait else ""
    names = f"{len(found)} requests" if len(found) > 1 else "one request"
    return f"job {job} waited for {names}; {worst.node} took {duration(worst.total(now))}{spent}"


def _columns(now: int, total: str) -> Columns[RequestHistory]:
    return {
        "node": lambda history: history.node,
        "request": lambda history: history.request_id,
        "asked": lambda history: moment(history.asked),
        total: lambda history: duration(history.total(now)),
    }


def _mostly(history: RequestHistory) -> str | None:
    wait = history.longest_wait
    return f"{duration(wait.length)} {wait.what}" if wait else None


def _as_json(now: int, history: RequestHistory) -> dict[str, object]:
    start = history.start
    return {
        "node": history.node,
        "request_id": history.request_id,
        "kind": str(history.kind),
        "asked": moment(history.asked),
        "waited_seconds": history.total(now) / 1e9,
        "outcome": history.outcome,
        "cloud": history.cloud,
        "cause": history.cause,
        "failed_attempts": history.attempts,
        "registered": start.registered_at and moment(start.registered_at),
        "job_started": start.started_at and moment(start.started_at),
        "waits": [{"seconds": x.length / 1e9, "what": x.what} for x in history.waits],
    }


# The events of failures with the same cause, the latest first.
_FAILURES: Columns[Sequence[RequestEvent]] = {
    "failures": len,
    "cause": lambda events: _cause(events[0]).error,
    "nodes": lambda events: hostlist.collect_hostlist(sorted({event.node for event in events})),
    "first": lambda events: moment(events[-1].time),
    "last": lambda events: moment(events[0].time),
    "example": lambda events: Counter(_cause(x).message for x in events).most_common(1)[0][0],
}


def _cause(event: RequestEvent) -> Cause:
    return event.cause or Cause("-", "")


@click.command
@time_options
@json_option("cause")
@pass_session
def failures(session: Session, /, *, since: int | None, until: int | None, as_json: bool) -> None:
    """List why requests failed, the most frequent cause first."""
    wanted = Filter(since=since, until=until, transitions=(str(Transition.FAILED),))
    by_cause: dict[tuple[str, str], list[RequestEvent]] = {}
    with session.reading("audit") as connection:
        for entry in latest_first(connection, wanted):
            event = event_from(parse(entry.body))
            cause = _cause(event)
            by_cause.setdefault((cause.error, error_pattern(cause.message)), []).append(event)
    groups = sorted(by_cause.values(), key=len, reverse=True)
    print_items(
        groups,
        _FAILURES,
        lambda events: {name: cell(events) for name, cell in _FAILURES.items()},
        as_json=as_json,
    )


@click.command
@time_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=10, help="Number of boots (default 10)."
)
@json_option("boot")
@pass_session
def slowest(
    session: Session, /, *, since: int | None, until: int | None, limit: int, as_json: bool
) -> None:
    """List the boots that took longest, from the request until the node was up."""
    with session.reading("audit") as connection:
        ends = (
            event_from(parse(entry.body))
            for entry in slowest_first(connection, Transition.COMPLETED, since, until)
        )
        boots = islice((event for event in ends if event.kind is Kind.RESUME), limit)
        found = [
            request_history(request_records(connection, boot.request_id)) for boot in list(boots)
        ]
    now = time.time_ns()
    columns = {**_columns(now, "took"), "cloud": lambda history: history.cloud, "mostly": _mostly}
    print_items(found, columns, partial(_as_json, now), as_json=as_json)
