"""`lamplighter audit why`, `failures` and `slowest`: waits of a job, causes, slow boots."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import click
import hostlist

from ops.audit.filters import require_span, time_options
from ops.audit.job_history import job_history
from ops.audit.job_wait import JobWait, job_wait
from ops.audit.listing import step_columns
from ops.audit.request_history import RequestHistory, WaitSpan, request_history
from ops.audit.similarity import error_pattern
from ops.cli.ids import short_ids
from ops.cli.options import count, job_id, json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import (
    Columns,
    duration,
    moment,
    print_items,
    print_line,
    print_rows,
    short_moment,
)
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import Cause, RequestEvent, Transition, event_from
from workers.audit.queries import Filter, latest_first, request_records, slowest_first


@click.command
@click.argument("job", type=job_id)
@json_option("node")
@pass_session
def why(session: Session, job: int, *, as_json: bool) -> None:
    """Explain why a job waited: in all since its submission, and for each node.

    JOB is a job number, also for a task of an array: squeue --jobs=4711_3 --format=%A prints it.
    """
    with session.reading("audit") as connection:
        history = job_history(connection, job)
        found, events = list(history.requests), history.events
    if not found:
        raise click.ClickException(f"the audit log shows no node for which job {job} waited")
    now = time.time_ns()
    found.sort(key=lambda history: -history.total(now))
    waited = job_wait(found, events, now)
    if not as_json and waited is not None:
        print_line(_total(job, waited), style="bold")
        print_rows(_SPANS, waited.spans, empty="no part of the wait is known")
        print_line("")
        print_line(_summary(job, found, now), style="bold")
    columns = {
        **_columns(session, found, now, "waited"),
        "outcome": lambda history: history.outcome or "under way",
        "mostly": _mostly,
        "cause": _further_cause,
    }
    del columns["asked"]
    if not any(map(_further_cause, found)):
        del columns["cause"]
    whole = {} if waited is None else _wait_json(waited)
    print_items(
        found,
        columns,
        lambda x: {**_as_json(now, x), **whole},
        empty="no requests",
        as_json=as_json,
    )
    if as_json:
        return
    worst = found[0]
    print_line("")
    print_line(f"{worst.node}, request {worst.request_id}", style="bold")
    steps = step_columns(worst.asked)
    del steps["attempt"]
    print_rows(steps, worst.timeline, empty="no steps")


def _total(job: int, waited: JobWait) -> str:
    longest = waited.longest
    # a job that was cancelled while it waited leaves no record, unless it belongs to a UWS job
    how = "waited" if waited.ended else "has no recorded start in the"
    return (
        f"job {job} {how} {duration(waited.length)} since "
        f"{waited.since}, {duration(longest.length)} of it {longest.what}"
    )


def _wait_json(waited: JobWait) -> dict[str, object]:
    return {
        "job_waited_seconds": waited.length / 1e9,
        "job_waited_since": moment(waited.begin),
        "job_waited_from": waited.since,
        "job_waits": [{"seconds": x.length / 1e9, "what": x.what} for x in waited.spans],
    }


def _summary(job: int, found: Sequence[RequestHistory], now: int) -> str:
    worst, wait = found[0], found[0].longest_wait
    spent = f", {duration(wait.length)} of it {wait.what}" if wait else ""
    names = f"{len(found)} requests" if len(found) > 1 else "one request"
    return f"job {job} waited for {names}; {worst.node} took {duration(worst.total(now))}{spent}"


def _columns(
    session: Session, found: Sequence[RequestHistory], now: int, total: str
) -> dict[str, Callable[[RequestHistory], object]]:
    short = short_ids(session, [history.request_id for history in found])
    return {
        "node": lambda history: history.node,
        "request": lambda history: short[history.request_id],
        "asked": lambda history: short_moment(history.asked),
        total: lambda history: duration(history.total(now)),
    }


def _mostly(history: RequestHistory) -> str | None:
    wait = history.longest_wait
    return f"{duration(wait.length)} {wait.what}" if wait else None


def _further_cause(history: RequestHistory) -> str | None:
    """The cause, unless most of the time says it."""
    cause = history.cause
    return None if cause is None or cause in (_mostly(history) or "") else cause


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
        "slurm_timer_seconds": None if start.timer is None else start.timer / 1e9,
        "waits": [{"seconds": x.length / 1e9, "what": x.what} for x in history.waits],
    }


_SPANS: Columns[WaitSpan] = {
    "waited": lambda span: duration(span.length),
    "what for": lambda span: span.what,
}
# The events of failures with the same cause, the latest first.
_FAILURES: Columns[Sequence[RequestEvent]] = {
    "failures": len,
    "cause": lambda events: _cause(events[0]).error,
    "nodes": lambda events: hostlist.collect_hostlist(sorted({event.node for event in events})),
    "first": lambda events: short_moment(events[-1].time),
    "last": lambda events: short_moment(events[0].time),
    "example": lambda events: Counter(_cause(x).message for x in events).most_common(1)[0][0],
}


def _cause(event: RequestEvent) -> Cause:
    return event.cause or Cause("-", "")


def _failures_json(events: Sequence[RequestEvent]) -> dict[str, object]:
    row = {name: cell(events) for name, cell in _FAILURES.items()}
    return {**row, "first": moment(events[-1].time), "last": moment(events[0].time)}


@click.command
@time_options
@json_option("cause")
@pass_session
def failures(session: Session, /, *, since: int | None, until: int | None, as_json: bool) -> None:
    """List why requests failed, the most frequent cause first."""
    require_span(since, until)
    wanted = Filter(since=since, until=until, transitions=(str(Transition.FAILED),))
    by_cause: dict[tuple[str, str], list[RequestEvent]] = {}
    with session.reading("audit") as connection:
        for entry in latest_first(connection, wanted):
            event = event_from(parse(entry.body))
            cause = _cause(event)
            by_cause.setdefault((cause.error, error_pattern(cause.message)), []).append(event)
    groups = sorted(by_cause.values(), key=len, reverse=True)
    print_items(groups, _FAILURES, _failures_json, empty="no failures", as_json=as_json)


@click.command
@time_options
@click.option("--limit", type=count(1), default=10, help="Number of boots (default 10).")
@json_option("boot")
@pass_session
def slowest(
    session: Session, /, *, since: int | None, until: int | None, limit: int, as_json: bool
) -> None:
    """List the boots that took longest, from the request until the node was up."""
    require_span(since, until)
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
    columns = {**_columns(session, found, now, "took"), "mostly": _mostly}
    print_items(found, columns, partial(_as_json, now), empty="no boots", as_json=as_json)
