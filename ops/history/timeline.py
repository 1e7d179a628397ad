"""The story of a request as a list of steps: pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops.cli.terminal import duration
from ops.history.job_start import UNKNOWN, Beginning
from schemas.envelope import parse
from schemas.events import Happening, RequestEvent, event_from

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story; time in ns since the epoch, strings as hostile as they came."""

    time: int
    round: int
    what: str
    attempt: int | None = None
    details: str = ""


def timeline(bodies: Sequence[bytes], begun: Beginning = UNKNOWN) -> list[Step]:
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
            Step(
                event.time,
                event.round,
                f"{event.happening}, dry run" if event.dry_run else str(event.happening),
                attempt=event.attempt or None,
                details="; ".join(_details(event)),
            )
        )
    if events:
        steps.extend(_begun(begun, max(event.round for event in events)))
    # a stable sort: what happened in the same instant stays in the order it was recorded
    return sorted(_once(steps), key=lambda step: step.time)


def _asked(event: RequestEvent) -> Step:
    by = f"{event.kind} of {event.node}"
    return Step(event.generation, 1, "asked", details=by)


def _actions(event: RequestEvent) -> Iterator[Step]:
    for action in event.actions:
        result = "would be called: dry run" if event.dry_run else action.result
        details = f"{action.server_id}: {result}"
        yield Step(action.time, event.round, action.action, details=details)


def _begun(begun: Beginning, round_: int) -> Iterator[Step]:
    if begun.registered_at is not None:
        yield Step(begun.registered_at, round_, "registered", details="slurmd had started")
    if begun.started_at is not None:
        yield Step(begun.started_at, round_, "job started", details=f"job {begun.job_id}")


def _details(event: RequestEvent) -> Iterator[str]:
    if event.happening is Happening.ACCEPTED:
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
    if event.happening.terminal and event.cloud:
        yield f"on {event.cloud}" + (f", address {event.address}" if event.address else "")
    if event.by:
        yield f"by {event.by}"
    if event.reason:
        yield event.reason


def _once(steps: Iterable[Step]) -> Iterator[Step]:
    """Each step once: an action may be listed by more than one event of its round."""
    return iter(dict.fromkeys(steps))
