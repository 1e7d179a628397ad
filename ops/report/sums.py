"""From nodes' histories to the figures of a report. Pure; times and sums are ns."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ops.report.history import Boot, History, PoweredOn
from ops.report.question import NOBODY, PERSONAL, Allocation, NodePlace, Question
from ops.report.spans import Sorted, Span, clip, length, minus, overlap, union

TOTAL = "total"


@dataclass(slots=True)
class UsageRow:
    """The figures of one key.

    Attributes:
        nodes: those that anything is known of.
        boots, boots_failed: how many ended.
        lit: powered on.
        booting: from a boot's first call to its end.
        allocated: lit and given to jobs; None where that is not known. What is lit beyond is waste.
        untold: lit while Slurm said nothing of the node, so that nobody knows whether it was idle.
        spared: of the idle time, what the asked SuspendTime would have spared; boots not counted.
        saved: not lit, while the node was known: against nodes that always burn.
        visible: what EGI's accounting counts: the server's whole life, lit or not.
        orphans: nodes found to burn though Slurm held them to be powered down.
        strays: servers found to be no node's.
        bins: lit, by part of the time.
    """

    key: str
    nodes: set[str] = field(default_factory=set)
    boots: float = 0
    boots_failed: float = 0
    lit: float = 0
    booting: float = 0
    allocated: float | None = None
    untold: float = 0
    spared: float | None = None
    saved: float = 0
    visible: float = 0
    orphans: int = 0
    strays: int = 0
    bins: list[float] = field(default_factory=list)

    @property
    def idle(self) -> float | None:
        """Lit for nobody."""
        if self.allocated is None:
            return None
        return max(0.0, self.lit - self.untold - self.allocated)


def rows(histories: Iterable[History], asked: Question, bins: int = 0) -> list[UsageRow]:
    """The figures by key, the most lit first.

    By `job` and `user`, lit time falls to the jobs that the node was lit for, in equal shares; where
    Slurm's allocations are known it falls to those instead, and the rest to nobody.
    """
    tally = _Tally(asked, bins)
    add = tally.by_person if asked.by in PERSONAL else tally.by_place
    for history in histories:
        add(history)
    if asked.by not in PERSONAL:
        tally.drift()
    return sorted(tally.rows.values(), key=lambda found: (-found.lit, found.key))


def total(found: Sequence[UsageRow], bins: int = 0) -> UsageRow:
    """All rows as one."""
    parts = [sum(lit) for lit in zip(*(row.bins for row in found), strict=True)]
    return UsageRow(
        TOTAL,
        nodes=set().union(*(row.nodes for row in found)),
        boots=sum(row.boots for row in found),
        boots_failed=sum(row.boots_failed for row in found),
        lit=sum(row.lit for row in found),
        booting=sum(row.booting for row in found),
        allocated=_sum(row.allocated for row in found),
        untold=sum(row.untold for row in found),
        spared=_sum(row.spared for row in found),
        saved=sum(row.saved for row in found),
        visible=sum(row.visible for row in found),
        orphans=sum(row.orphans for row in found),
        strays=sum(row.strays for row in found),
        bins=parts or [0.0] * bins,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


class _Tally:
    """Adds one history after the other."""

    def __init__(self, asked: Question, bins: int) -> None:
        self.rows: dict[str, UsageRow] = {}
        self._asked = asked
        self._bins = bins
        self._window = asked.begin, asked.end
        self._given: dict[str, list[Allocation]] = {}
        self._users: dict[int, str] = {}
        for allocation in asked.allocations or ():
            self._given.setdefault(allocation.node, []).append(allocation)
            self._users[allocation.job] = allocation.user

    def by_place(self, history: History) -> None:
        asked, window = self._asked, self._window
        place = asked.places.get(history.node)
        found = self._row(_place_key(history.cloud, place, asked.by))
        known = clip([(history.since, asked.end)], window)
        lit = clip([(span.begin, span.end) for span in history.lit], window)
        found.nodes.add(history.node)
        found.lit += length(lit)
        found.saved += max(0, length(known) - length(lit))
        strategy = None if place is None else place.strategy
        found.visible += length(clip(union(_visible(history, strategy, asked.end)), window))
        if found.allocated is not None:
            given = union(_span(a) for a in self._given.get(history.node, ()))
            told = clip([(span.begin, span.end) for span in self._told(history)], window)
            found.untold += length(lit) - length(told)
            found.allocated += overlap(told, given)
            if asked.suspend_time is not None:
                idle = minus(told, given)
                spared = sum(max(0, end - begin - asked.suspend_time) for begin, end in idle)
                found.spared = (found.spared or 0) + spared
        for boot in history.boots:
            _count_boot(found, boot, 1.0, window)
        _fill(found, lit, window, 1.0)

    def drift(self) -> None:
        """What was found: a stray counts where it is, else where the node belongs that it says it is."""
        by, places = self._asked.by, self._asked.places
        for node in self._asked.orphans:
            self._row(_place_key(None, places.get(node), by)).orphans += 1
        vos = {place.cloud: place.vo for place in places.values()}
        for stray in self._asked.strays:
            if by == "vo":
                key = vos.get(stray.cloud or "") or NOBODY
            else:
                key = _place_key(stray.cloud, places.get(stray.node or ""), by)
            self._row(key).strays += 1

    def by_person(self, history: History) -> None:
        given = Sorted(self._given.get(history.node, ()), _span)
        for boot in history.boots:
            for key, share in self._shares(boot.jobs):
                _count_boot(self._row(key), boot, share, self._window)
        told = set(self._told(history))
        for lit in history.lit:
            for span in clip([(lit.begin, lit.end)], self._window):
                if lit in told:
                    self._add_given(history.node, span, given.meeting(span))
                    continue
                for key, share in self._shares(lit.jobs):
                    found = self._row(key)
                    _add_lit(found, history.node, [span], self._window, share)
                    found.untold += length([span]) * share

    def _told(self, history: History) -> Iterator[PoweredOn]:
        """Those of its times whose use Slurm has told."""
        if self._asked.allocations is None:
            return
        if self._asked.heard is None:
            yield from history.lit
            return
        heard = self._asked.heard.get(history.node, ())
        before = 0
        for lit in history.lit:
            # what it says when it registers is earlier than the worker's seeing it lit
            if bisect_right(heard, lit.end) > bisect_right(heard, before):
                yield lit
            before = lit.end

    def _add_given(self, node: str, lit: Span, given: Sequence[Allocation]) -> None:
        used: list[Span] = []
        for allocation in given:
            part = clip([lit], _span(allocation))
            if part:
                used += part
                ((key, _),) = self._shares((allocation.job,))
                found = self._row(key)
                _add_lit(found, node, part, self._window, 1.0)
                found.allocated = (found.allocated or 0) + length(part)
        rest = minus([lit], union(used))
        if rest:
            _add_lit(self._row(NOBODY), node, rest, self._window, 1.0)

    def _shares(self, jobs: Sequence[int]) -> list[tuple[str, float]]:
        """Whose a time is that a node was lit for these jobs, and what share of it."""
        if not jobs:
            return [(NOBODY, 1.0)]
        by_job, users = self._asked.by == "job", self._users
        return [(str(job) if by_job else users.get(job, NOBODY), 1 / len(jobs)) for job in jobs]

    def _row(self, key: str) -> UsageRow:
        found = self.rows.get(key)
        if found is None:
            known = self._asked.allocations is not None
            found = UsageRow(key, allocated=0 if known else None, bins=[0.0] * self._bins)
            self.rows[key] = found
        return found


def _span(allocation: Allocation) -> Span:
    return allocation.begin, allocation.end


def _add_lit(row: UsageRow, node: str, lit: list[Span], window: Span, share: float) -> None:
    row.nodes.add(node)
    row.lit += length(lit) * share
    _fill(row, lit, window, share)


def _count_boot(row: UsageRow, boot: Boot, share: float, window: Span) -> None:
    if window[0] <= boot.end < window[1]:
        row.boots += share
        row.boots_failed += 0 if boot.done else share
    row.booting += length(clip([(boot.begin, boot.end)], window)) * share


def _fill(row: UsageRow, lit: list[Span], window: Span, share: float) -> None:
    """Add to each part of the time what was lit in it."""
    parts, (since, until) = len(row.bins), window
    for begin, end in lit if parts else ():
        at, part = begin, (begin - since) * parts // (until - since)
        while at < end:
            edge = min(end, since + (until - since) * (part + 1) // parts)
            row.bins[part] += (edge - at) * share
            at, part = edge, part + 1


def _visible(history: History, strategy: str | None, until: int) -> Iterator[Span]:
    """The server's life: where it is never deleted, all the time that it is known."""
    if strategy != "delete" and not history.made:
        yield history.since, until
    for begin, end in history.made:
        yield history.since if begin is None else begin, until if end is None else end


def _place_key(cloud: str | None, place: NodePlace | None, by: str) -> str:
    """Whose row it is; `cloud` is where it has been seen."""
    if by == "cloud" and cloud is not None:
        return cloud
    if place is None:
        return NOBODY
    found: str | None = getattr(place, by)
    return found or NOBODY
