"""`lamplighter audit why`, `failures` and `slowest`: questions that take one command each."""

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
from ops.history.similarity import likeness
from ops.history.timeline import timeline
from ops.history.waits import RequestWait, wait_breakdown
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from workers.audit.queries import Filter, find, latest_first, longest, story

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.command
@click.argument("job", type=click.IntRange(min=1))
@_json
@pass_session
def why(session: Session, job: int, *, as_json: bool) -> None:
    """Say why a job waited: each of its nodes, how long, and on what most of it was spent."""
    with session.reading("audit") as connection:
        entries = find(connection, Filter(job=job))
        bodies: dict[str, list[bytes]] = {}
        for entry in entries:
            if entry.request_id is not None:
                bodies.setdefault(entry.request_id, []).append(entry.body)
        begun = {id_: job_start(connection, each, job) for id_, each in bodies.items()}
    if not bodies:
        raise click.ClickException(f"the audit knows of no node that job {job} has waited for")
    now = time.time_ns()
    found = (wait_breakdown(each, begun[id_]) for id_, each in bodies.items())
    waits = sorted(found, key=lambda wait: -wait.total(now))
    if as_json:
        for wait in waits:
            print_json(_wait_as_json(wait, now))
        return
    print_line(_summed_up(job, waits, now), style="bold")
    print_table(
        ("node", "request", "asked", "waited", "outcome", "mostly", "cause"),
        [_wait_row(wait, now) for wait in waits],
    )
    worst = waits[0]
    print_line("")
    print_line(f"{worst.node}, request {worst.request_id}", style="bold")
    steps = timeline(bodies[worst.request_id], worst.begun)
    print_table(
        ("time", "offset", "round", "what", "details"),
        [
            (moment(x.time), f"+{duration(x.time - worst.asked)}", x.round, x.what, x.details)
            for x in steps
        ],
    )


def _summed_up(job: int, waits: Sequence[RequestWait], now: int) -> str:
    worst = waits[0]
    mostly = worst.mostly
    spent = f", {duration(mostly.length)} of it {mostly.what}" if mostly else ""
    names = f"{len(waits)} requests" if len(waits) > 1 else "one request"
    return f"job {job} waited for {names}; {worst.node} took {duration(worst.total(now))}{spent}"


def _wait_row(wait: RequestWait, now: int) -> tuple[object, ...]:
    mostly = wait.mostly
    return (
        wait.node,
        wait.request_id,
        moment(wait.asked),
        duration(wait.total(now)),
        wait.outcome or "under way",
        f"{duration(mostly.length)} {mostly.what}" if mostly else None,
        wait.cause,
    )


def _wait_as_json(wait: RequestWait, now: int) -> dict[str, object]:
    return {
        "node": wait.node,
        "request_id": wait.request_id,
        "kind": str(wait.kind),
        "asked": moment(wait.asked),
        "waited_seconds": wait.total(now) / 1e9,
        "outcome": wait.outcome,
        "cloud": wait.cloud,
        "cause": wait.cause,
        "failed_attempts": wait.attempts,
        "registered": wait.begun.registered_at and moment(wait.begun.registered_at),
        "job_started": wait.begun.started_at and moment(wait.begun.started_at),
        "stretches": [{"seconds": x.length / 1e9, "what": x.what} for x in wait.stretches],
    }


@dataclass(frozen=True, slots=True)
class _Failures:
    """Failures that are alike."""

    error: str
    events: Sequence[RequestEvent]

    @property
    def nodes(self) -> str:
        names: str = hostlist.collect_hostlist(sorted({event.node for event in self.events}))
        return names

    @property
    def example(self) -> str:
        words = Counter(event.cause.message for event in self.events if event.cause)
        return words.most_common(1)[0][0] if words else ""


@click.command
@time_options
@_json
@pass_session
def failures(session: Session, /, *, since: int | None, until: int | None, as_json: bool) -> None:
    """Print what requests failed of, the commonest cause first: --since 7d."""
    wanted = Filter(since=since, until=until, transitions=(str(Transition.FAILED),))
    alike: dict[tuple[str, str], list[RequestEvent]] = {}
    with session.reading("audit") as connection:
        for entry in latest_first(connection, wanted):
            event = event_from(parse(entry.body))
            error, words = (event.cause.error, event.cause.message) if event.cause else ("-", "")
            alike.setdefault((error, likeness(words)), []).append(event)
    groups = [_Failures(key[0], events) for key, events in alike.items()]
    groups.sort(key=lambda group: -len(group.events))
    if as_json:
        for group in groups:
            print_json(
                {
                    "cause": group.error,
                    "failures": len(group.events),
                    "nodes": group.nodes,
                    "first": moment(group.events[-1].time),
                    "last": moment(group.events[0].time),
                    "example": group.example,
                }
            )
        return
    print_table(
        ("failures", "cause", "nodes", "first", "last", "example"),
        [
            (
                *(len(group.events), group.error, group.nodes),
                *(moment(group.events[-1].time), moment(group.events[0].time), group.example),
            )
            for group in groups
        ],
    )


@click.command
@time_options
@click.option("--limit", type=click.IntRange(min=1), default=10, help="So many (10).")
@_json
@pass_session
def slowest(
    session: Session, /, *, since: int | None, until: int | None, limit: int, as_json: bool
) -> None:
    """Print the boots that took longest from asking to being up: --since 7d."""
    with session.reading("audit") as connection:
        ends = (
            event_from(parse(entry.body))
            for entry in longest(connection, Transition.COMPLETED, since, until)
        )
        boots = islice((event for event in ends if event.kind is Kind.RESUME), limit)
        waits = [
            wait_breakdown([entry.body for entry in story(connection, boot.request_id)])
            for boot in list(boots)
        ]
    now = time.time_ns()
    if as_json:
        for wait in waits:
            print_json(_wait_as_json(wait, now))
        return
    print_table(
        ("node", "request", "asked", "took", "cloud", "mostly"),
        [(*_wait_row(wait, now)[:4], wait.cloud, _wait_row(wait, now)[5]) for wait in waits],
    )
