"""A request's history: its outcome, attempts, stages and waits, from its audit records. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ops.audit.job_start import UNKNOWN, JobStart
from ops.audit.timeline import StageName, TimelineStep, steps_of
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import Transition, event_from
from workers.audit.queries import Entry


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a request's way, in ns since the epoch; `words` say what ended it."""

    round: int
    name: StageName
    begin: int
    end: int
    words: str


@dataclass(frozen=True, slots=True)
class WaitSpan:
    """A part of the time that a request took: how long (ns), and what it was spent on."""

    length: int
    what: str


@dataclass(frozen=True, slots=True)
class RequestHistory:
    """The history of one request; times are ns since the epoch.

    Attributes:
        asked: when it was requested.
        rounds: the number of its latest round.
        cloud: the cloud of the node, if an event names it.
        ended: when the latest round ended; None while it is under way.
        outcome: how it ended; None while it is under way.
        cause: why it ended so, if not because all was done.
        start: when the node registered and its first job started.
        steps: by round and time; the first is the request itself.
    """

    node: str
    request_id: str
    kind: Kind
    asked: int
    rounds: int
    attempts: int
    cloud: str | None
    ended: int | None
    outcome: Transition | None
    cause: str | None
    start: JobStart
    steps: tuple[TimelineStep, ...]

    @property
    def timeline(self) -> list[TimelineStep]:
        """The steps in the order of their times."""
        return sorted(self.steps, key=lambda step: step.time)

    def total(self, now: int) -> int:
        """How long it took, up to the last that is known of it; how long until now if open."""
        known = self.ended, self.start.registered_at, self.start.started_at
        end = now if self.ended is None else max(time or 0 for time in known)
        return max(0, end - self.asked)

    @property
    def waits(self) -> list[WaitSpan]:
        """What the time was spent on, in order; the sum is at most the total."""
        found: list[WaitSpan] = []
        for step, begin, following in self._pairs():
            length = max(0, following.time - begin)
            if length and step.wait:
                if found and found[-1].what == step.wait:
                    length += found.pop().length
                found.append(WaitSpan(length, step.wait))
        return found

    @property
    def longest_wait(self) -> WaitSpan | None:
        """What most of the time was spent on."""
        return max(self.waits, key=lambda wait: wait.length, default=None)

    def stages(self, now: int) -> list[Stage]:
        """The stages in order; an open request's last stage lasts until `now`."""
        found: list[Stage] = []
        recorded = 0
        for step, at, following in self._pairs():
            # a dead letter waits from its record on; Slurm does not wait for the audit
            begin = max(at, recorded) if step.stage == "person" else at
            round_, name, end = following.round, step.stage, max(begin, following.time)
            if step.resumed_at is not None and begin < step.resumed_at < end:
                found.append(Stage(round_, name, begin, step.resumed_at, "taken up again"))
                begin, name = step.resumed_at, "worker"
            found.append(Stage(round_, name, begin, end, following.summary))
            if following.recorded_at is not None:
                recorded = max(end, following.recorded_at)
                found.append(Stage(round_, "audit", end, recorded, "recorded"))
        if self.ended is None:
            last, begin = self.steps[-1], found[-1].end
            found.append(Stage(last.round, last.stage, begin, max(begin, now), "under way"))
        return found

    def _pairs(self) -> Iterator[tuple[TimelineStep, int, TimelineStep]]:
        """Each step with its time and the next step; if clocks disagree, no time runs backwards."""
        times = accumulate((step.time for step in self.steps), max)
        for (step, following), begin in zip(pairwise(self.steps), times, strict=False):
            yield step, begin, following


def request_history(entries: Iterable[Entry], start: JobStart = UNKNOWN) -> RequestHistory:
    """The history of one request from all its records in the audit; there must be at least one.

    Raises:
        MalformedMessageError: a record is not an event of a request.
    """
    read = [(event_from(parse(entry.body)), entry.recorded_at) for entry in entries]
    read.sort(key=lambda pair: (pair[0].round, pair[0].time))
    events = [event for event, _ in read]
    first, rounds = events[0], events[-1].round
    ends = [event for event in events if event.transition.terminal]
    # if a new round is open, the request is under way, whatever the outcome of the round before
    end = ends[-1] if ends and ends[-1].round == rounds else None
    cause = str(end.cause) if end and end.cause else None
    if end and end.dry_run and cause is None:
        cause = "dry run: no action was taken"
    return RequestHistory(
        node=first.node,
        request_id=first.request_id,
        kind=first.kind,
        asked=first.generation,
        rounds=rounds,
        attempts=max(event.attempt for event in events),
        cloud=next((event.cloud for event in reversed(events) if event.cloud), None),
        ended=end.time if end else None,
        outcome=end.transition if end else None,
        cause=cause,
        start=start,
        steps=tuple(steps_of(events, [recorded_at for _, recorded_at in read], start)),
    )
