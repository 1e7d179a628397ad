"""What a node's events tell of its power. Pure.

A node is lit from when the worker saw it so to when it saw it out. Where a resume was overtaken, the call
that put the node out stands in for the first: it is made as soon as the node is seen lit. Where it failed,
the node had not been seen lit until then. Where a suspend was overtaken, its call stands in for the second.
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
# Words of workers/clouds/actions.py.
_LIGHTS = frozenset({"os-start", "unshelve", "create", "unpause", "resume"})
_PUTS_OUT = frozenset({"os-stop", "shelve", "delete"})
_PUT_OUT_BY = frozenset({Kind.SUSPEND, Kind.RESUME_FAIL, Kind.DEPLOY, Kind.RETIRE, Kind.BAKE})


@dataclass(frozen=True, slots=True)
class PoweredOn:
    """A time that a node was lit, ns since the epoch.

    Attributes:
        jobs: those that it was lit for; who came later is known to Slurm alone.
    """

    begin: int
    end: int
    jobs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Boot:
    """From the first call for a boot (or the asking, where none was made) to lit or failed."""

    begin: int
    end: int
    done: bool
    jobs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a node.

    Attributes:
        since: from when on anything is known, ns since the epoch.
        cloud: where it was last, or None.
        made: the times that a server of it was made and deleted: begin and end, None for not seen.
    """

    node: str
    since: int
    lit: tuple[PoweredOn, ...]
    boots: tuple[Boot, ...]
    made: tuple[tuple[int | None, int | None], ...]
    cloud: str | None = None


def histories(events: Iterable[ReportedOutcome], until: int) -> list[History]:
    """Every node's history until then, ns since the epoch; what is lit then is lit until then."""
    by_node: dict[str, list[ReportedOutcome]] = {}
    for event in events:
        if event.time < until:
            by_node.setdefault(event.node, []).append(event)
    return [_history(node, told, until) for node, told in sorted(by_node.items())]


def _history(node: str, events: list[ReportedOutcome], until: int) -> History:
    walk = _Walk()
    # of what ended at the same moment, the older request comes first
    for event in sorted(events, key=_IN_ORDER):
        walk.hear(event)
    walk.go_out(until)
    return History(
        node=node,
        since=walk.since or until,
        lit=tuple(walk.lit),
        boots=tuple(walk.boots),
        made=tuple(walk.spans_made()),
        cloud=walk.cloud,
    )


@dataclass(slots=True)
class _Walk:
    """Goes through one node's events.

    Attributes:
        burning: since when it is lit, or None.
        overtaken: whether that was a resume that something newer overtook.
        perhaps: since when it may have been lit by a call of which nobody saw the effect, or None.
    """

    since: int | None = None
    burning: int | None = None
    perhaps: int | None = None
    overtaken: bool = False
    jobs: tuple[int, ...] = ()
    cloud: str | None = None
    lit: list[PoweredOn] = field(default_factory=list)
    boots: list[Boot] = field(default_factory=list)
    creations: list[int] = field(default_factory=list)
    deletions: list[int] = field(default_factory=list)

    def hear(self, event: ReportedOutcome) -> None:
        lights, puts_out = _calls(event)
        if self.since is None:
            self.since = min([event.time, *lights, *puts_out])
        self.cloud = event.cloud or self.cloud
        if lights:
            self.creations += _times(event, "create")
        if event.transition is Transition.COMPLETED and event.kind is Kind.RESUME:
            self._seen_lit(event, lights)
        elif event.transition is Transition.COMPLETED and event.kind in _PUT_OUT_BY:
            if self.burning is None and puts_out:
                self.burning = lights[0] if lights else self._unseen(puts_out[0])
            self.go_out(event.time)
            if puts_out and _times(event, "delete"):
                self.deletions.append(event.time)
        elif event.transition is not Transition.COMPLETED:
            self._ended_early(event, lights, puts_out)

    def go_out(self, at: int) -> None:
        if self.burning is not None:
            self.lit.append(PoweredOn(self.burning, max(self.burning, at), self.jobs))
        self.burning, self.perhaps, self.jobs = None, None, ()

    def spans_made(self) -> Iterator[tuple[int | None, int | None]]:
        ends = list(self.deletions)
        if ends and (not self.creations or ends[0] < self.creations[0]):
            yield None, ends.pop(0)
        for number, begin in enumerate(self.creations):
            following = self.creations[number + 1] if number + 1 < len(self.creations) else None
            place = bisect_left(ends, begin)
            end = ends[place] if place < len(ends) else None
            yield begin, end if following is None or (end or 0) <= following else following

    def _seen_lit(self, event: ReportedOutcome, lights: list[int]) -> None:
        if lights:
            self.boots.append(Boot(lights[0], event.time, done=True, jobs=event.jobs))
            if (
                self.burning is not None
            ):  # it had gone out unseen, or this call would not have been made
                self.go_out(lights[0])
        if self.burning is None:
            self.burning = event.time if lights else self.perhaps or event.time
            self.jobs = event.jobs
        self.perhaps = None

    def _unseen(self, put_out: int) -> int | None:
        """Since when a node was lit that nobody saw lit, but that had to be put out."""
        return put_out if self.perhaps is not None and self.overtaken else self.perhaps

    def _ended_early(self, event: ReportedOutcome, lights: list[int], puts_out: list[int]) -> None:
        if event.kind is Kind.RESUME and event.transition is Transition.FAILED:
            first = event.actions[0].time if event.actions else event.generation
            begin = min(first, event.time)
            self.boots.append(Boot(begin, event.time, done=False, jobs=event.jobs))
        if puts_out and self.burning is not None:
            self.go_out(puts_out[-1])
        if lights and self.burning is None:
            failed = event.transition is Transition.FAILED
            self.perhaps = event.time if failed else lights[-1]
            self.overtaken, self.jobs = not failed, event.jobs


def _calls(event: ReportedOutcome) -> tuple[list[int], list[int]]:
    """When it was lit and when it was put out by calls that were done."""
    lights: list[int] = []
    puts_out: list[int] = []
    for call in event.actions:
        if call.result == _DONE:
            if call.action in _LIGHTS:
                lights.append(call.time)
            elif call.action in _PUTS_OUT:
                puts_out.append(call.time)
    return lights, puts_out


def _times(event: ReportedOutcome, word: str) -> list[int]:
    return [call.time for call in event.actions if call.action == word and call.result == _DONE]
