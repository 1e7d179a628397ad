"""The steps of a request's history: events, cloud actions, and Slurm's reports. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ops.audit.job_start import JobStart
from ops.cli.terminal import duration
from schemas.commands import Kind
from schemas.events import CloudAction, RequestEvent, Transition

_NS = 1_000_000_000
# Who has the request, or what Slurm waits for. `rest` is a retry tier, `person` a dead letter that
# waits for an operator. The records do not separate hook, broker and the delivery to the worker.
StageName: TypeAlias = Literal[
    "hook, broker", "worker", "cloud", "rest", "audit", "person", "registration", "job start"
]
# The stage after an event, and what its time is spent on; other events end a round.
_AFTER: Mapping[Transition, tuple[StageName, str]] = {
    Transition.ACCEPTED: ("worker", "until the cloud was called"),
    Transition.PARKED: ("rest", "parked"),
    Transition.RETRIED: ("rest", "before another attempt"),
    Transition.REPLAYED: ("hook, broker", "replayed, spool and broker"),
    Transition.FAILED: ("person", "a dead letter"),
}


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """One step; times in ns since the epoch. The texts are untrusted.

    Attributes:
        what: the name of the step.
        summary: the step in a few words, as the end of a stage.
        stage: who has the request after this step.
        wait: what the time after this step is spent on; empty if it is not a wait.
        resumed_at: when the retry tier returns the request to the worker.
        recorded_at: for the outcome of a round, when the audit recorded it.
    """

    time: int
    round: int
    what: str
    attempt: int | None = None
    details: str = ""
    summary: str = ""
    stage: StageName = "worker"
    wait: str = ""
    resumed_at: int | None = None
    recorded_at: int | None = None


def steps_of(
    events: Sequence[RequestEvent], recorded_at: Sequence[int], start: JobStart
) -> list[TimelineStep]:
    """The steps of a request, by round and time.

    `events`, at least one, are ordered so too; `recorded_at` is when the audit recorded each.
    """
    first = events[0]
    asked = TimelineStep(first.generation, 1, "asked", details=f"{first.kind} of {first.node}")
    asked = replace(asked, stage="hook, broker", wait="spool and broker")
    steps: list[TimelineStep] = []
    # more than one event of a round may list an action
    seen: set[tuple[int, CloudAction]] = set()
    for event, recorded in zip(events, recorded_at, strict=True):
        for action in event.actions:
            if (event.round, action) not in seen:
                seen.add((event.round, action))
                steps.append(_action_step(event, action))
        steps.append(_event_step(event, recorded))
    # stable: steps at the same time stay in the order in which they were recorded
    steps.sort(key=lambda step: (step.round, step.time))
    return _with_start([asked, *steps], events[-1].round, start)


def _action_step(event: RequestEvent, action: CloudAction) -> TimelineStep:
    result = "would be called: dry run" if event.dry_run else action.result
    wait = "booting" if event.kind is Kind.RESUME else f"after {action.action}"
    if action.result != "done":
        wait = f"after {action.action} had failed: {action.result}"
    return TimelineStep(
        action.time,
        event.round,
        action.action,
        details=f"{action.server_id}: {result}",
        summary=f"{action.action}: {action.result}",
        stage="cloud",
        wait=wait,
    )


def _event_step(event: RequestEvent, recorded_at: int) -> TimelineStep:
    transition, cause = str(event.transition), event.cause
    stage, wait = _AFTER.get(event.transition, ("person", ""))
    return TimelineStep(
        event.time,
        event.round,
        f"{transition}, dry run" if event.dry_run else transition,
        attempt=event.attempt or None,
        details="; ".join(_details(event)),
        summary=f"{transition}: {cause.error}" if cause else transition,
        stage=stage,
        wait=f"{wait}: {cause}" if wait and cause else wait,
        resumed_at=None if event.retry_in is None else event.time + event.retry_in * _NS,
        recorded_at=recorded_at if event.transition.terminal else None,
    )


def _details(event: RequestEvent) -> Iterator[str]:
    if event.transition is Transition.ACCEPTED:
        if event.jobs:
            yield "for " + ", ".join(f"job {job.job_id}" for job in event.jobs)
        if event.origin:
            yield f"from {event.origin}"
        if event.note:
            yield event.note
    if event.cause is not None:
        yield str(event.cause)
    if event.retry_in is not None:
        yield f"again in {duration(event.retry_in * _NS)}"
    if event.transition.terminal and event.cloud:
        yield f"on {event.cloud}" + (f", address {event.address}" if event.address else "")
    if event.by:
        yield f"by {event.by}"
    if event.reason:
        yield event.reason


def _with_start(steps: list[TimelineStep], round_: int, start: JobStart) -> list[TimelineStep]:
    """Add the registrations and the job's start; Slurm reports times in whole seconds."""
    job, up = f"job {start.job_id}", "slurmd had started"
    others, last = f"until the other nodes of {job} had registered", f"the last node of {job}"
    began, until = f"{job} started", f"until {start.started_by} started {job}"
    later = start.job_registered_at if start.job_registered_at != start.registered_at else None
    found: list[tuple[int | None, str, str, str, StageName, str]] = [
        (start.registered_at, "registered", up, up, "registration", "until slurmd had registered"),
        (later, "all registered", last, f"{last} had registered", "registration", others),
        (start.started_at, "job started", job, began, "job start", until),
    ]
    for time, what, details, summary, stage, wait in found:
        if time is not None:
            # the step before learns what the time until this one was spent on
            steps[-1] = replace(steps[-1], stage=stage, wait=wait)
            steps.append(TimelineStep(time, round_, what, details=details, summary=summary))
    return steps
