"""Waits until requests have ended: shows progress, then sums up the outcomes."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

import hostlist
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.cli.session import Session
from ops.cli.terminal import console, duration_of, print_json, print_line, warn
from schemas.commands import PowerCommand
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from workers.store.requests import outcomes

_POLL = 0.3
_SECONDS_PER_LINE = 5.0
_INTERRUPTED = 130


# Shows the requests that have ended since the last call, if any.
Report: TypeAlias = Callable[[Sequence[RequestEvent]], None]


def wait(
    session: Session, commands: Sequence[PowerCommand], seconds: float | None, report: Report
) -> list[RequestEvent]:
    """Wait until all requests have ended, or for `seconds`.

    Returns:
        The outcomes; fewer than the commands if the time ran out.

    Raises:
        StoreMissingError, sqlalchemy.exc.OperationalError: the store is unavailable.
    """
    cluster = session.settings.cluster
    still_open = {(command.id, 1) for command in commands}
    ended: list[RequestEvent] = []
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        with session.reading("state") as connection:
            found = outcomes(connection, cluster, sorted(still_open))
        still_open -= set(found)
        fresh = [event_from(parse(outcome.event)) for outcome in found.values()]
        ended += fresh
        report(fresh)
        if not still_open or (deadline is not None and time.monotonic() >= deadline):
            return ended
        time.sleep(_POLL)


def wait_and_report(
    session: Session, commands: Sequence[PowerCommand], seconds: float | None, *, as_json: bool
) -> int:
    """Wait, show progress and sum up; the exit code is 1 if a request did not complete."""
    started = time.monotonic()
    try:
        with _reporter(len(commands), as_json=as_json) as report:
            ended = wait(session, commands, seconds, report)
    except KeyboardInterrupt:
        warn("the requests continue; see lamplighter nodes list")
        return _INTERRUPTED
    if not as_json:
        for line in summarize(commands, ended, time.monotonic() - started):
            print_line(line)
    done = sum(event.transition is Transition.COMPLETED for event in ended)
    return 0 if done == len(commands) else 1


def summarize(
    commands: Sequence[PowerCommand], ended: Sequence[RequestEvent], seconds: float
) -> list[str]:
    """The lines to print; requests that did not complete are grouped by cause. Pure."""
    wrong: dict[tuple[str, str], list[RequestEvent]] = defaultdict(list)
    for event in ended:
        if event.transition is not Transition.COMPLETED:
            wrong[event.transition, event.error or "-"].append(event)
    done = len(ended) - sum(map(len, wrong.values()))
    lines = [f"{done} of {len(commands)} nodes done in {duration_of(seconds)}"]
    if dry := [event.node for event in ended if event.dry_run]:
        lines.append(f"DRY RUN: nothing was changed on {hostlist.collect_hostlist(dry)}")
    for (transition, error), events in sorted(wrong.items(), key=lambda item: -len(item[1])):
        names = hostlist.collect_hostlist([event.node for event in events])
        messages = {event.cause.message for event in events if event.cause}
        example = f" ({min(messages)}{'; ...' if len(messages) > 1 else ''})" if messages else ""
        lines.append(f"{len(events)} {transition}, {error}: {names}{example}")
    ids = {event.request_id for event in ended}
    late = [command.node for command in commands if command.id not in ids]
    if late:
        names = hostlist.collect_hostlist(late)
        lines.append(f"{len(late)} still in progress: {names}; see lamplighter nodes show NODE")
    if any(event.transition is Transition.FAILED for event in ended):
        lines.append("fix the cause, then run: lamplighter dead-letters replay")
    return lines


def _reporter(count: int, *, as_json: bool) -> AbstractContextManager[Report]:
    """JSON, a progress bar on a terminal, or plain lines."""
    if as_json:
        return nullcontext(_print_outcomes)
    return _progress_bar(count) if sys.stdout.isatty() else nullcontext(LineReporter(count).report)


@contextmanager
def _progress_bar(count: int) -> Iterator[Report]:
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("nodes"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[wrong]}", style="red", markup=False),
        console=console(),
    ) as progress:
        task = progress.add_task("nodes", total=count, wrong="")
        wrong = 0

        def report(ended: Sequence[RequestEvent]) -> None:
            nonlocal wrong
            wrong += sum(event.transition is not Transition.COMPLETED for event in ended)
            shown = f"{wrong} not done" if wrong else ""
            progress.update(task, advance=len(ended), wrong=shown)

        yield report


class LineReporter:
    """A line at intervals, and one for each node whose request did not complete."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ended = self._printed = 0
        self._next = 0.0

    def report(self, ended: Sequence[RequestEvent]) -> None:
        """Print what is new, at most one line of progress per interval."""
        for event in ended:
            if event.transition is not Transition.COMPLETED:
                cause = f": {event.cause}" if event.cause else ""
                print_line(f"{event.node} {event.transition}{cause}")
        self._ended += len(ended)
        now = time.monotonic()
        if self._ended > self._printed and (now >= self._next or self._ended == self._count):
            self._printed, self._next = self._ended, now + _SECONDS_PER_LINE
            print_line(f"{self._ended} of {self._count} nodes have ended")


def _print_outcomes(ended: Sequence[RequestEvent]) -> None:
    for event in ended:
        cause = event.cause and {"error": event.cause.error, "message": event.cause.message}
        print_json(
            {
                "node": event.node,
                "request_id": event.request_id,
                "outcome": str(event.transition),
                "cause": cause,
                "server_id": event.server_id,
                "cloud": event.cloud,
                "dry_run": event.dry_run,
            }
        )
