"""Waiting for what was asked: progress while it lasts, and what came of it."""

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import click
import hostlist
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from ops.cli.session import Session
from ops.cli.terminal import console, duration, plain, print_json, print_line
from schemas.commands import PowerCommand
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from workers.store.requests import outcomes

_LOOK = 0.3
_LINE_EVERY = 5.0
_NS = 1_000_000_000
_INTERRUPTED = 130


class OutcomeReporter(Protocol):
    """Tells a person, or a program, how far things have got."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def tell(self, ended: Sequence[RequestEvent]) -> None:
        """These have ended since the last call; there may be none."""


def wait(
    session: Session,
    commands: Sequence[PowerCommand],
    seconds: float | None,
    reporter: OutcomeReporter,
) -> list[RequestEvent]:
    """Wait until all have ended, or for so many seconds.

    Returns:
        How they ended; fewer than there are commands if time ran out.

    Raises:
        StoreMissingError, sqlalchemy.exc.OperationalError: the store cannot be asked.
    """
    cluster = session.settings.cluster
    still_open = {(command.id, 1) for command in commands}
    ended: list[RequestEvent] = []
    until = None if seconds is None else time.monotonic() + seconds
    with reporter:
        while True:
            with session.reading("state") as connection:
                found = outcomes(connection, cluster, sorted(still_open))
            still_open -= set(found)
            fresh = [event_from(parse(outcome.event)) for outcome in found.values()]
            ended += fresh
            reporter.tell(fresh)
            if not still_open or (until is not None and time.monotonic() >= until):
                return ended
            time.sleep(_LOOK)


def wait_and_report(
    session: Session, commands: Sequence[PowerCommand], seconds: float | None, *, as_json: bool
) -> int:
    """Wait, tell how it goes, and sum up; the exit code: 1 where not all was done."""
    reporter: OutcomeReporter = JsonReporter() if as_json else reporter_for(len(commands))
    started = time.monotonic()
    try:
        ended = wait(session, commands, seconds, reporter)
    except KeyboardInterrupt:
        click.echo("lamplighter: the requests go on; see lamplighter nodes list", err=True)
        return _INTERRUPTED
    if not as_json:
        summary = summed_up(commands, ended, time.monotonic() - started)
        for line in summary:
            print_line(line)
    done = sum(event.transition is Transition.COMPLETED for event in ended)
    return 0 if done == len(commands) else 1


def summed_up(
    commands: Sequence[PowerCommand], ended: Sequence[RequestEvent], seconds: float
) -> list[str]:
    """What came of it: lines for people; what went wrong is grouped by its cause. Pure."""
    wrong: dict[tuple[str, str], list[RequestEvent]] = defaultdict(list)
    for event in ended:
        if event.transition is not Transition.COMPLETED:
            wrong[event.transition, event.cause.error if event.cause else "-"].append(event)
    done = len(ended) - sum(map(len, wrong.values()))
    lines = [f"{done} of {len(commands)} nodes done in {duration(round(seconds * _NS))}"]
    if dry := [event.node for event in ended if event.dry_run]:
        lines.append(f"DRY RUN: nothing was done to {hostlist.collect_hostlist(dry)}")
    for (transition, error), events in sorted(wrong.items(), key=lambda item: -len(item[1])):
        names = hostlist.collect_hostlist([event.node for event in events])
        words = {event.cause.message for event in events if event.cause}
        example = f" ({min(words)}{'; ...' if len(words) > 1 else ''})" if words else ""
        lines.append(f"{len(events)} {transition}, {error}: {names}{example}")
    ids = {event.request_id for event in ended}
    late = [command.node for command in commands if command.id not in ids]
    if late:
        names = hostlist.collect_hostlist(late)
        lines.append(f"{len(late)} still under way: {names}; see lamplighter nodes show NODE")
    if any(event.transition is Transition.FAILED for event in ended):
        lines.append("mend the cause, then: lamplighter dead-letters replay")
    return lines


def reporter_for(count: int) -> OutcomeReporter:
    """A bar on a terminal, plain lines elsewhere."""
    return BarReporter(count) if sys.stdout.isatty() else LineReporter(count)


class BarReporter:
    """A progress bar."""

    def __init__(self, count: int) -> None:
        self._progress = RichProgress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("nodes"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[wrong]}", style="red", markup=False),
            console=console(),
        )
        self._task = self._progress.add_task("nodes", total=count, wrong="")
        self._wrong = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, ended: Sequence[RequestEvent]) -> None:
        """Move on."""
        self._wrong += sum(event.transition is not Transition.COMPLETED for event in ended)
        wrong = f"{self._wrong} not done" if self._wrong else ""
        self._progress.update(self._task, advance=len(ended), wrong=wrong)


class LineReporter:
    """A line now and then, and one for each node that is not done."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ended = self._told = 0
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def tell(self, ended: Sequence[RequestEvent]) -> None:
        """Print what is new, if it is time."""
        for event in ended:
            if event.transition is not Transition.COMPLETED:
                cause = f": {event.cause.error}: {event.cause.message}" if event.cause else ""
                click.echo(plain(f"{event.node} {event.transition}{cause}"))
        self._ended += len(ended)
        now = time.monotonic()
        if self._ended > self._told and (now >= self._next or self._ended == self._count):
            self._told, self._next = self._ended, now + _LINE_EVERY
            click.echo(f"{self._ended} of {self._count} nodes have ended")


class JsonReporter:
    """One JSON object a request, as it ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def tell(self, ended: Sequence[RequestEvent]) -> None:
        """Print them."""
        for event in ended:
            print_json(
                {
                    "node": event.node,
                    "request_id": event.request_id,
                    "outcome": str(event.transition),
                    "cause": event.cause
                    and {"error": event.cause.error, "message": event.cause.message},
                    "server_id": event.server_id,
                    "cloud": event.cloud,
                    "dry_run": event.dry_run,
                }
            )
