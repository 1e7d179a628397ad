"""A request's way as stages that follow each other, from what the audit holds. Pure.

Hook, broker and the worker's hand are told apart by no record: the first stage is all three, from
the stamp of the hook to the worker's acceptance. Behind the last stage comes what Slurm made of it:
until slurmd had registered, and until the job started.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ops.history.job_start import UNKNOWN, JobStart
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from workers.audit.queries import Entry

_NS = 1_000_000_000
Name = Literal[
    "hook, broker", "worker", "cloud", "rest", "audit", "person", "registration", "job start"
]


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the way; ns since the epoch.

    Attributes:
        name: who had it: `rest` is a retry tier, `person` a dead letter that waited; or what it was
            waited for, in Slurm.
        words: what ended the stage.
    """

    round: int
    name: Name
    begin: int
    end: int
    words: str


def stages(entries: Sequence[Entry], now: int, begun: JobStart = UNKNOWN) -> list[Stage]:
    """The stages of one request, in order; clocks that disagree make none shorter than nothing.

    What is under way lasts until `now`, ns since the epoch.

    Raises:
        MalformedMessageError: one is no event of a request.
    """
    told = [(event_from(parse(entry.body)), entry.recorded_at) for entry in entries]
    told.sort(key=lambda pair: (pair[0].round, pair[0].time))
    return [*_walk(told, now), *(_slurm(told[-1][0], begun) if told else ())]


def _slurm(lit: RequestEvent, begun: JobStart) -> Iterator[Stage]:
    """What came after the node was lit; Slurm's times are in whole seconds."""
    at = lit.time
    if begun.registered_at is not None:
        end = max(at, begun.registered_at)
        yield Stage(lit.round, "registration", at, end, "slurmd had started")
        at = end
    if begun.started_at is not None:
        end = max(at, begun.started_at)
        yield Stage(lit.round, "job start", at, end, f"job {begun.job_id} started")


def _walk(told: Sequence[tuple[RequestEvent, int]], now: int) -> Iterator[Stage]:
    if not told:
        return
    at = told[0][0].generation
    name: Name = "hook, broker"
    rested = 0
    for event, recorded_at in told:
        for action in event.actions if event.transition.terminal else ():
            if action.time > at:
                yield Stage(event.round, name, at, action.time, f"{action.action}: {action.result}")
                at, name = action.time, "cloud"
        end = max(at, event.time)
        if name == "rest" and at < rested < end:
            yield Stage(event.round, name, at, rested, "taken up again")
            at, name = rested, "worker"
        yield Stage(event.round, name, at, end, _words(event))
        rested = end + (event.retry_in or 0) * _NS
        at, name = end, _next(event)
        if event.transition.terminal:
            at = max(end, recorded_at)
            yield Stage(event.round, "audit", end, at, "recorded")
            name = "person"
    last = told[-1][0]
    if not last.transition.terminal:
        yield Stage(last.round, name, at, max(at, now), "under way")


def _next(event: RequestEvent) -> Name:
    if event.transition is Transition.REPLAYED:
        return "hook, broker"
    if event.transition in {Transition.RETRIED, Transition.PARKED}:
        return "rest"
    return "worker"


def _words(event: RequestEvent) -> str:
    words = str(event.transition)
    return words if event.cause is None else f"{words}: {event.cause.error}"
