"""`lamplighter audit why`, `failures` and `slowest`: waits of a job, causes, slow boots."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import click
import hostlist

from ops.audit.filters import time_options
from ops.cli.session import Session, pass_session
from ops.cli.terminal import duration, moment, print_json, print_line, print_table
from ops.history.job_start import job_start
from ops.history.request import RequestHistory, request_history
from ops.history.similarity import error_pattern
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from workers.audit.queries import Entry, Filter, find, latest_first, request_records, slowest_first

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.command
@click.argument("job", type=click.IntRange(min=1))
@_json
@pass_session
def why(session: Session, job: int, *, as_json: bool) -> None:
    """Explain why a job waited: for each node how long, and what took most of the time."""
    with session.reading("audit") as connection:
        entries = find(connection, Filter(job=job))
        requests: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.request_id is not None:
                requests.setdefault(entry.request_id, []).append(entry)
        found = [request_history(x, job_start(connection, x, job)) for x in requests.values()]
    if not found:
        raise click.ClickException(f"the audit has no node that job {job} waited for")
    now = time.time_ns()
    found.sort(key=lambda history: -history.total(now))
    if as_json:
        for history in found:
            print_json(_as_json(history, now))
        return
    print_line(_summary(job, found, now), style="bold")
    print_table(
        ("node", "request", "asked", "waited", "outcome", "mostly", "cause"),
        [_row(history, now) for history in found],
    )
    worst = found[0]
    print_line("")
    print_line(f"{worst.node}, request {worst.request_id}", style="bold")
    print_table(
        ("time", "offset", "round", "what", "details"),
        [
            (moment(x.time), f"+{duration(x.time - worst.asked)}", x.round, x.what, x.details)
            for x in worst.timeline
        ],
    )


def _summary(job: int, found: Sequence[RequestHistory], now: int) -> str:
    worst, wait = found[0], found[0].longest_wait
    spent = f", {duration(wait.length)} of it {wait.what}" if wait else ""
    names = f"{len(found)} requests" if len(found) > 1 else "one request"
    return f"job {job} waited for {names}; {worst.node} took {duration(worst.total(now))}{spent}"


def _row(history: RequestHistory, now: int) -> tuple[object, ...]:
    wait = history.longest_wait
    return (
        history.node,
        history.request_id,
        moment(history.asked),
        duration(history.total(now)),
        history.outcome or "under way",
        f"{duration(wait.length)} {wait.what}" if wait else None,
        history.cause,
    )


def _as_json(history: RequestHistory, now: int) -> dict[str, object]:
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


@dataclass(frozen=True, slots=True)
class _Failures:
    """Failures with the same cause."""

    error: str
    events: Sequence[RequestEvent]

    @property
    def nodes(self) -> str:
        names: str = hostlist.collect_hostlist(sorted({event.node for event in self.events}))
        return names

    @property
    def example(self) -> str:
        messages = Counter(event.cause.message for event in self.events if event.cause)
        return messages.most_common(1)[0][0] if messages else ""


@click.command
@time_options
@_json
@pass_session
def failures(session: Session, /, *, since: int | None, until: int | None, as_json: bool) -> None:
    """List why requests failed, the most frequent cause first."""
    wanted = Filter(since=since, until=until, transitions=(str(Transition.FAILED),))
    by_cause: dict[tuple[str, str], list[RequestEvent]] = {}
    with session.reading("audit") as connection:
        for entry in latest_first(connection, wanted):
            event = event_from(parse(entry.body))
            error, text = (event.cause.error, event.cause.message) if event.cause else ("-", "")
            by_cause.setdefault((error, error_pattern(text)), []).append(event)
    groups = [_Failures(key[0], events) for key, events in by_cause.items()]
    groups.sort(key=lambda group: -len(group.events))
    columns = ("failures", "cause", "nodes", "first", "last", "example")
    rows = [
        (
            *(len(group.events), group.error, group.nodes),
            *(moment(group.events[-1].time), moment(group.events[0].time), group.example),
        )
        for group in groups
    ]
    if not as_json:
        print_table(columns, rows)
    for row in rows if as_json else ():
        print_json(dict(zip(columns, row, strict=True)))


@click.command
@time_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=10, help="Number of boots (default 10)."
)
@_json
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
    if as_json:
        for history in found:
            print_json(_as_json(history, now))
        return
    print_table(
        ("node", "request", "asked", "took", "cloud", "mostly"),
        [(*_row(x, now)[:4], x.cloud, _row(x, now)[5]) for x in found],
    )
