"""From nodes' histories to the rows of a report. Pure; times are ns."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from ops.report.history import NodeHistory, PoweredOn
from ops.report.question import PERSONAL, UNASSIGNED, Allocation, NodePlace, Question, StartWait
from ops.report.spans import Sorted, Span, clip, length, minus, overlap, union
from ops.report.usage import UsageRow


def rows(histories: Iterable[NodeHistory], question: Question, bins: int = 0) -> list[UsageRow]:
    """The rows by key, the longest powered on first.

    By `job` and `user`, time is shared equally between the jobs that the node was powered on for. If
    Slurm's allocations are known, it is attributed to those instead, and the rest to UNASSIGNED.
    """
    tally = _Tally(question, bins)
    add = tally.add_by_job if question.by in PERSONAL else tally.add_by_place
    known = list(histories)
    for history in known:
        add(history)
    tally.add_start_waits(known)
    if question.by not in PERSONAL:
        tally.add_orphans_and_strays()
    return sorted(tally.rows.values(), key=lambda row: (-row.powered_on, row.key))


class _Tally:
    """Adds up histories, one after the other."""

    def __init__(self, question: Question, bins: int) -> None:
        self.rows: dict[str, UsageRow] = {}
        self._question = question
        self._bins = bins
        self._window = question.begin, question.end
        self._allocations: dict[str, list[Allocation]] = {}
        # of each job, its users by the end of an allocation, in order: Slurm may give an id again
        self._users: dict[int, dict[int, str]] = {}
        for allocation in question.allocations or ():
            self._allocations.setdefault(allocation.node, []).append(allocation)
        if question.by == "user":
            for one in sorted(question.allocations or (), key=attrgetter("end")):
                self._users.setdefault(one.job, {})[one.end] = one.user

    def add_by_place(self, history: NodeHistory) -> None:
        question, window = self._question, self._window
        place = question.places.get(history.node)
        row = self._row(_place_key(history.cloud, place, question.by))
        # a node that has left the configuration saves nothing after its last request
        until = history.last_outcome if place is None else None
        known = clip([(history.known_since, until or question.end)], window)
        powered_on = clip(map(_span, history.powered_on), window)
        row.nodes.add(history.node)
        row.add_powered_on(powered_on, window)
        row.saved += max(0, length(known) - length(powered_on))
        strategy = None if place is None else place.strategy
        row.visible += length(clip(union(_visible(history, strategy, question.end)), window))
        if row.allocated is not None:
            allocated = union(map(_span, self._allocations.get(history.node, ())))
            reported = clip(map(_span, self._reported(history)), window)
            row.unknown += length(powered_on) - length(reported)
            row.allocated += overlap(reported, allocated)
            if question.suspend_time is not None:
                idle = minus(reported, allocated)
                saved = sum(max(0, end - begin - question.suspend_time) for begin, end in idle)
                row.suspend_saved = (row.suspend_saved or 0) + saved
        for boot in history.boots:
            row.add_boot(boot, window)

    def add_start_waits(self, histories: Iterable[NodeHistory]) -> None:
        """Add the waits of these nodes for slurmctld's timer, as far as they are parts of idle time.

        A node registers before the worker sees it running.
        """
        question = self._question
        idle = {x.node: (x.cloud, Sorted(self._reported(x), _span)) for x in histories}
        for wait in question.start_waits or ():
            if wait.node not in idle:
                continue
            cloud, times = idle[wait.node]
            if question.by in PERSONAL:
                ((key, _),) = self._shares((wait.job,), wait.end)
            else:
                place = question.places.get(wait.node)
                key = _place_key(cloud, place, question.by)
            parts = clip(map(_span, times.meeting(_span(wait))), _span(wait))
            self._row(key).add_start_wait(wait, parts, self._window, has_prolog=question.has_prolog)

    def add_orphans_and_strays(self) -> None:
        """A stray counts for its cloud if that is known, else for the node it is tagged with."""
        by, places = self._question.by, self._question.places
        for node in self._question.orphans:
            self._row(_place_key(None, places.get(node), by)).orphans += 1
        vos = {place.cloud: place.vo for place in places.values()}
        for stray in self._question.strays:
            if by == "vo":
                key = vos.get(stray.cloud or "") or UNASSIGNED
            else:
                key = _place_key(stray.cloud, places.get(stray.node or ""), by)
            self._row(key).strays += 1

    def add_by_job(self, history: NodeHistory) -> None:
        allocations = Sorted(self._allocations.get(history.node, ()), _span)
        for boot in history.boots:
            for key, share in self._shares(boot.jobs, boot.begin):
                self._row(key).add_boot(boot, self._window, share)
        reported = set(self._reported(history))
        for time in history.powered_on:
            for span in clip([_span(time)], self._window):
                if time in reported:
                    self._add_allocated(history.node, span, allocations.meeting(span))
                    continue
                for key, share in self._shares(time.jobs, time.begin):
                    row = self._add(key, history.node, [span], share)
                    if row.allocated is not None:
                        row.unknown += length([span]) * share

    def _reported(self, history: NodeHistory) -> Iterator[PoweredOn]:
        """The times powered on whose use Slurm reported."""
        if self._question.allocations is None:
            return
        if self._question.reported_at is None:
            yield from history.powered_on
            return
        reported_at = self._question.reported_at.get(history.node, ())
        before = 0
        for time in history.powered_on:
            # a node registers before the worker sees it running: count from the end of the last time
            if bisect_right(reported_at, time.end) > bisect_right(reported_at, before):
                yield time
            before = time.end

    def _add_allocated(self, node: str, span: Span, allocations: Sequence[Allocation]) -> None:
        used: list[Span] = []
        for allocation in allocations:
            part = clip([span], _span(allocation))
            if part:
                used += part
                ((key, _),) = self._shares((allocation.job,), allocation.begin)
                row = self._add(key, node, part)
                row.allocated = (row.allocated or 0) + length(part)
        rest = minus([span], union(used))
        if rest:
            self._add(UNASSIGNED, node, rest)

    def _add(self, key: str, node: str, spans: Sequence[Span], share: float = 1.0) -> UsageRow:
        row = self._row(key)
        row.nodes.add(node)
        row.add_powered_on(spans, self._window, share)
        return row

    def _shares(self, jobs: Sequence[int], at: int) -> list[tuple[str, float]]:
        """The keys of the jobs that had these ids, or were to start, at this time, with their shares."""
        if not jobs:
            return [(UNASSIGNED, 1.0)]
        by_job = self._question.by == "job"
        return [(str(job) if by_job else self._user(job, at), 1 / len(jobs)) for job in jobs]

    def _user(self, job: int, at: int) -> str:
        users = self._users.get(job, {})
        last = next(reversed(users.values()), UNASSIGNED)
        return next((user for end, user in users.items() if end > at), last)

    def _row(self, key: str) -> UsageRow:
        row = self.rows.get(key)
        if row is None:
            known = self._question.allocations is not None
            row = UsageRow(key, allocated=0 if known else None, bins=[0.0] * self._bins)
            self.rows[key] = row
        return row


def _span(time: Allocation | PoweredOn | StartWait) -> Span:
    return time.begin, time.end


def _visible(history: NodeHistory, strategy: str | None, until: int) -> Iterator[Span]:
    """The lives of the node's servers; the whole known time if servers are never deleted.

    A server that runs is there, although its creation may be before all that was read.
    """
    yield from map(_span, history.powered_on)
    if strategy != "delete" and not history.servers:
        yield history.known_since, until
    for begin, end in history.servers:
        yield history.known_since if begin is None else begin, until if end is None else end


def _place_key(cloud: str | None, place: NodePlace | None, by: str) -> str:
    """The key of a node's row; `cloud` is where the node was last seen."""
    if by == "cloud" and cloud is not None:
        return cloud
    if place is None:
        return UNASSIGNED
    key: str | None = getattr(place, by)
    return key or UNASSIGNED
