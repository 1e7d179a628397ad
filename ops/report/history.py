"""When a node was powered on, from the outcomes of its requests. Pure.

A node counts as powered on from when the worker saw it running until it saw it stopped. Some rounds end
before that was seen:
- If a resume was superseded, the begin is taken from the next call that stops the node, because
  that call is made as soon as the node is seen running.
- If a resume failed, the node was not seen running until then: the begin is the failure.
- If a suspend was superseded, the end is the time of its call.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from ops.report.outcome import ReportedOutcome
from schemas.commands import Kind
from schemas.events import Transition

_DONE = "done"
_IN_ORDER = attrgetter("time", "generation")
# Actions of workers/clouds/actions.py.
_STARTS = frozenset({"os-start", "unshelve", "create", "unpause", "resume"})
_STOPS = frozenset({"os-stop", "shelve", "delete"})
_CREATIONS, _DELETIONS = frozenset({"create"}), frozenset({"delete"})
_STOPPED_BY = frozenset({Kind.SUSPEND, Kind.RESUME_FAIL, Kind.DEPLOY, Kind.RETIRE, Kind.BAKE})


@dataclass(frozen=True, slots=True)
class PoweredOn:
    """A time (ns) that a node was powered on for these jobs; only Slurm knows later jobs."""

    begin: int
    end: int
    jobs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Boot:
    """A boot, from its first call (or the request, if there was no call) to its outcome."""

    begin: int
    end: int
    done: bool
    jobs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """What is known about a node; times are ns since the epoch.

    Attributes:
        known_since: the earliest time that anything is known about.
        servers: begin and end of its servers' lives; None if the creation or deletion is not known.
        cloud: where the node was last, or None.
        last_outcome: when a request for it ended last, or None.
    """

    node: str
    known_since: int
    powered_on: tuple[PoweredOn, ...]
    boots: tuple[Boot, ...]
    servers: tuple[tuple[int | None, int | None], ...]
    cloud: str | None = None
    last_outcome: int | None = None


def histories(outcomes: Iterable[ReportedOutcome], until: int) -> list[NodeHistory]:
    """The history of each node up to `until` (ns since the epoch)."""
    by_node: dict[str, list[ReportedOutcome]] = {}
    for outcome in outcomes:
        if outcome.time < until and outcome.is_about_power:
            by_node.setdefault(outcome.node, []).append(outcome)
    return [_history(node, found, until) for node, found in sorted(by_node.items())]


def _history(node: str, outcomes: list[ReportedOutcome], until: int) -> NodeHistory:
    walk = _HistoryWalk()
    # of outcomes at the same time, the older request comes first
    for outcome in sorted(outcomes, key=_IN_ORDER):
        walk.add(outcome)
    walk.power_off(until)
    return NodeHistory(
        node=node,
        known_since=walk.known_since or until,
        powered_on=tuple(walk.powered_on),
        boots=tuple(walk.boots),
        servers=tuple(walk.servers()),
        cloud=walk.cloud,
        last_outcome=max(outcome.time for outcome in outcomes),
    )


@dataclass(slots=True)
class _HistoryWalk:
    """Goes through the outcomes of one node in order.

    Attributes:
        running_since: when the node was powered on; None if it is powered off.
        maybe_since: when a call whose effect was not seen may have powered it on, or None.
        superseded: whether that call was made by a resume that was superseded.
        shown_at: when a request was completed: calls before it change nothing, although theirs ends later.
    """

    known_since: int | None = None
    running_since: int | None = None
    maybe_since: int | None = None
    superseded: bool = False
    shown_at: int = 0
    jobs: tuple[int, ...] = ()
    cloud: str | None = None
    powered_on: list[PoweredOn] = field(default_factory=list)
    boots: list[Boot] = field(default_factory=list)
    creations: list[int] = field(default_factory=list)
    deletions: list[int] = field(default_factory=list)

    def add(self, outcome: ReportedOutcome) -> None:
        starts, stops = _times(outcome, _STARTS), _times(outcome, _STOPS)
        if self.known_since is None:
            self.known_since = min([outcome.time, *starts, *stops])
        self.cloud = outcome.cloud or self.cloud
        if starts:
            self.creations += _times(outcome, _CREATIONS)
        if outcome.transition is Transition.COMPLETED and outcome.kind is Kind.RESUME:
            self._seen_running(outcome, starts)
        elif outcome.transition is Transition.COMPLETED and outcome.kind in _STOPPED_BY:
            if self.running_since is None and stops:
                # it was never seen running, but had to be stopped
                unseen = stops[0] if self.maybe_since and self.superseded else self.maybe_since
                self.running_since = starts[0] if starts else unseen
            self.power_off(outcome.time)
            if stops and _times(outcome, _DELETIONS):
                self.deletions.append(outcome.time)
        elif outcome.transition is not Transition.COMPLETED:
            self.deletions += _times(outcome, _DELETIONS)
            late = self.shown_at
            self._not_completed(
                outcome, [x for x in starts if x > late], [x for x in stops if x > late]
            )
        if outcome.transition is Transition.COMPLETED:
            self.shown_at = outcome.time

    def power_off(self, at: int) -> None:
        if self.running_since is not None:
            end = max(self.running_since, at)
            self.powered_on.append(PoweredOn(self.running_since, end, self.jobs))
        self.running_since, self.maybe_since, self.jobs = None, None, ()

    def servers(self) -> Iterator[tuple[int | None, int | None]]:
        creations, ends = sorted(self.creations), sorted(self.deletions)
        if ends and (not creations or ends[0] < creations[0]):
            yield None, ends.pop(0)
        for number, begin in enumerate(creations):
            following = creations[number + 1] if number + 1 < len(creations) else None
            place = bisect_left(ends, begin)
            end = ends[place] if place < len(ends) else None
            yield begin, end if following is None or (end or 0) <= following else following

    def _seen_running(self, outcome: ReportedOutcome, starts: list[int]) -> None:
        if starts:
            # another request may have shown it running since: this one ends late
            late = self.running_since if (self.running_since or 0) >= starts[0] else None
            self.boots.append(Boot(starts[0], late or outcome.time, done=True, jobs=outcome.jobs))
            if late is None:
                # it had stopped unseen; otherwise this call would not have been made
                self.power_off(starts[0])
        if self.running_since is None:
            self.running_since = outcome.time if starts else self.maybe_since or outcome.time
            self.jobs = outcome.jobs
        self.maybe_since = None

    def _not_completed(self, outcome: ReportedOutcome, starts: list[int], stops: list[int]) -> None:
        failed = outcome.transition is Transition.FAILED
        if outcome.kind is Kind.RESUME and failed:
            first = outcome.actions[0].time if outcome.actions else outcome.generation
            begin = min(first, outcome.time)
            self.boots.append(Boot(begin, outcome.time, done=False, jobs=outcome.jobs))
        if stops and self.running_since is not None:
            self.power_off(stops[-1])
        if starts and self.running_since is None:
            self.maybe_since = outcome.time if failed else starts[-1]
            self.superseded, self.jobs = not failed, outcome.jobs


def _times(outcome: ReportedOutcome, actions: frozenset[str]) -> list[int]:
    """The times of the successful ones of these calls."""
    return [x.time for x in outcome.actions if x.action in actions and x.result == _DONE]
