"""Why something took as long as it did: the stretches of a request's life, each with what it was. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ops.history.job_start import UNKNOWN, JobStart
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import CloudAction, RequestEvent, Transition, event_from


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the wait: how long (ns), and what it was spent on."""

    length: int
    what: str


@dataclass(frozen=True, slots=True)
class RequestWait:
    """One request of those that a job waited for; times in ns since the epoch.

    Attributes:
        node, request_id, kind: which.
        asked: when.
        ended: when its latest round ended; None while it is under way.
        outcome: how it ended; None likewise.
        cloud: where, once known.
        cause: what it failed of, in words.
        attempts: failed ones.
        stretches: from asking to the end, or to the job's start, in order.
        begun: what Slurm made of it.
    """

    node: str
    request_id: str
    kind: Kind
    asked: int
    ended: int | None
    outcome: Transition | None
    cloud: str | None
    cause: str | None
    attempts: int
    stretches: tuple[Stretch, ...]
    begun: JobStart = UNKNOWN

    def total(self, now: int) -> int:
        """How long it took, until the job started where that is known; or has taken so far."""
        if self.ended is None:
            return now - self.asked
        return max(self.ended, self.begun.started_at or 0) - self.asked

    @property
    def mostly(self) -> Stretch | None:
        """The longest stretch."""
        return max(self.stretches, key=lambda stretch: stretch.length, default=None)


def wait_breakdown(bodies: Sequence[bytes], begun: JobStart = UNKNOWN) -> RequestWait:
    """The wait that these events of one request tell of; there must be one.

    Raises:
        MalformedMessageError: one is no event of a request.
    """
    events = sorted((event_from(parse(body)) for body in bodies), key=lambda event: event.time)
    last = events[-1]
    ends = [event for event in events if event.transition.terminal]
    # a round that has begun again is not over, whatever ended before
    ended = ends[-1] if ends and ends[-1].round == max(event.round for event in events) else None
    return RequestWait(
        node=last.node,
        request_id=last.request_id,
        kind=last.kind,
        asked=last.generation,
        ended=ended.time if ended else None,
        outcome=ended.transition if ended else None,
        cloud=next((event.cloud for event in reversed(events) if event.cloud), None),
        cause=f"{ended.cause.error}: {ended.cause.message}" if ended and ended.cause else None,
        attempts=max(event.attempt for event in events),
        stretches=tuple(_stretches(events, begun)),
        begun=begun,
    )


def _stretches(events: Sequence[RequestEvent], begun: JobStart) -> list[Stretch]:
    """Each step lasts until the next; what it was spent on follows from the step that began it."""
    actions = {action for event in events for action in event.actions}
    steps = [
        (events[0].generation, "spool and broker"),
        *((action.time, _after_action(action, events[-1].kind)) for action in actions),
        *((event.time, _after(event)) for event in events),
    ]
    steps.sort(key=lambda step: step[0])
    steps += _after_lit(steps.pop(), begun)
    lengths = [
        Stretch(later[0] - step[0], step[1])
        for step, later in pairwise(steps)
        if later[0] > step[0] and step[1]
    ]
    joined: list[Stretch] = []
    for stretch in lengths:
        if joined and joined[-1].what == stretch.what:
            joined[-1] = Stretch(joined[-1].length + stretch.length, stretch.what)
        else:
            joined.append(stretch)
    return joined


def _after_lit(lit: tuple[int, str], begun: JobStart) -> list[tuple[int, str]]:
    """The last step, and those that Slurm has made since; its times are in whole seconds."""
    at, _ = lit
    steps = [lit]
    if begun.registered_at is not None:
        registered = max(at, begun.registered_at)
        steps = [(at, "until slurmd had registered"), (registered, "")]
    if begun.started_at is not None:
        steps[-1] = steps[-1][0], f"until Slurm started job {begun.job_id}"
        steps.append((max(steps[-1][0], begun.started_at), ""))
    return steps


def _after_action(action: CloudAction, kind: Kind) -> str:
    if action.result != "done":
        return f"after {action.action} had failed: {action.result}"
    return "booting" if kind is Kind.RESUME else f"after {action.action}"


def _after(event: RequestEvent) -> str:
    words = f": {event.cause.error}: {event.cause.message}" if event.cause else ""
    match event.transition:
        case Transition.ACCEPTED:
            return "until the cloud was called"
        case Transition.PARKED:
            return f"parked{words}"
        case Transition.RETRIED:
            return f"before another attempt{words}"
        case Transition.REPLAYED:
            return "replayed, spool and broker"
        case Transition.FAILED:
            return f"a dead letter{words}"
        case _:
            return ""
