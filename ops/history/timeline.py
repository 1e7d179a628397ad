"""The story of a request as a list of steps: pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops.cli.terminal import duration
from ops.history.job_start import UNKNOWN, JobStart
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """One line of the story; time in ns since the epoch, strings as hostile as they came."""

    time: int
    round: int
    what: str
    attempt: int | None = None
    details: str = ""


def timeline(bodies: Sequence[bytes], begun: JobStart = UNKNOWN) -> list[TimelineStep]:
    """The steps that these events of one request tell of, in the order they happened.

    The asking (known from the generation), the cloud actions (listed by the outcome) and what Slurm
    made of it are steps of their own.

    Raises:
        MalformedMessageError: one is no event of a request.
    """
    events = [event_from(parse(body)) for body in bodies]
    steps = [_asked(events[0])] if events else []
    for event in events:
        steps.extend(_actions(event))
        steps.append(
            TimelineStep(
                event.time,
                event.round,
                f"{event.transition}, dry run" if event.dry_run else str(event.transition),
                attempt=event.attempt or None,
                details="; ".join(_details(event)),
            )
        )
    if events:
        steps.extend(_begun(begun, max(event.round for event in events)))
    # a stable sort: what happened in the same instant stays in the order it was recorded
    return sorted(_once(steps), key=lambda step: step.time)


def _asked(event: RequestEvent) -> TimelineStep:
    by = f"{event.kind} of {event.node}"
    return TimelineStep(event.generation, 1, "asked", details=by)


def _actions(event: RequestEvent) -> Iterator[TimelineStep]:
    for action in event.actions:
        result = "would be called: dry run" if event.dry_run else action.result
        details = f"{action.server_id}: {result}"
        yield TimelineStep(action.time, event.round, action.action, details=details)


def _begun(begun: JobStart, round_: int) -> Iterator[TimelineStep]:
    if begun.registered_at is not None:
        yield TimelineStep(begun.registered_at, round_, "registered", details="slurmd had started")
    if begun.started_at is not None:
        yield TimelineStep(begun.started_at, round_, "job started", details=f"job {begun.job_id}")


def _details(event: RequestEvent) -> Iterator[str]:
    if event.transition is Transition.ACCEPTED:
        if event.jobs:
            yield "for " + ", ".join(f"job {job.job_id}" for job in event.jobs)
        if event.origin:
            yield f"from {event.origin}"
        if event.note:
            yield event.note
    if event.cause is not None:
        yield f"{event.cause.error}: {event.cause.message}"
    if event.retry_in is not None:
        yield f"again in {duration(event.retry_in * _NS)}"
    if event.transition.terminal and event.cloud:
        yield f"on {event.cloud}" + (f", address {event.address}" if event.address else "")
    if event.by:
        yield f"by {event.by}"
    if event.reason:
        yield event.reason


def _once(steps: Iterable[TimelineStep]) -> Iterator[TimelineStep]:
    """Each step once: an action may be listed by more than one event of its round."""
    return iter(dict.fromkeys(steps))
