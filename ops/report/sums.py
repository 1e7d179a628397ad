"""From nodes' histories to the figures of a report. Pure; times and sums are ns."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ops.report.history import History
from ops.report.spans import Span, clip, length, minus, overlap, union

# What was lit for no job, or for one that nobody knows, is told under this name.
NOBODY = "-"
TOTAL = "total"
BY = ("group", "cloud", "strategy", "vo", "user", "job")
PERSONAL = frozenset({"job", "user"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node belongs by the configuration."""

    group: str
    cloud: str
    strategy: str
    vo: str | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """A time that Slurm gave a node to a job, ns since the epoch."""

    node: str
    job: int
    user: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        begin, end: the time, ns since the epoch; the end is exclusive.
        by: `group`, `cloud`, `strategy`, `vo`, `user` or `job`.
        places: of the configured nodes.
        allocations: Slurm's; None where they are not known.
        suspend_time: Slurm's SuspendTime as it might have been; None where that is not asked.
    """

    begin: int
    end: int
    by: str
    places: Mapping[str, Place]
    allocations: Sequence[Allocation] | None = None
    suspend_time: int | None = None


@dataclass(slots=True)
class Row:
    """The figures of one key.

    Attributes:
        nodes: those that anything is known of.
        boots, boots_failed: how many ended.
        lit: powered on.
        booting: from a boot's first call to its end.
        allocated: lit and given to jobs; None where that is not known. What is lit beyond is waste.
        spared: of the idle time, what the asked SuspendTime would have spared; boots not counted.
        saved: not lit, while the node was known: against nodes that always burn.
        visible: what EGI's accounting counts: the server's whole life, lit or not.
        bins: lit, by part of the time.
    """

    key: str
    nodes: set[str] = field(default_factory=set)
    boots: float = 0
    boots_failed: float = 0
    lit: float = 0
    booting: float = 0
    allocated: float | None = None
    spared: float | None = None
    saved: float = 0
    visible: float = 0
    bins: list[float] = field(default_factory=list)

    @property
    def idle(self) -> float | None:
        """Lit for nobody."""
        return None if self.allocated is None else max(0.0, self.lit - self.allocated)


def rows(histories: Iterable[History], asked: Question, bins: int = 0) -> list[Row]:
    """The figures by key, the most lit first.

    By `job` and `user`, lit time falls to the jobs that the node was lit for, in equal shares; where
    Slurm's allocations are known it falls to those instead, and the rest to nobody.
    """
    made: dict[str, Row] = {}

    def row(key: str) -> Row:
        if key not in made:
            known = asked.allocations is not None
            made[key] = Row(key, allocated=0 if known else None, bins=[0.0] * bins)
        return made[key]

    given: dict[str, list[Allocation]] = {}
    for allocation in asked.allocations or ():
        given.setdefault(allocation.node, []).append(allocation)
    for history in histories:
        if asked.by in PERSONAL:
            _by_person(history, asked, given.get(history.node, []), row)
        else:
            _by_place(history, asked, given.get(history.node, []), row)
    return sorted(made.values(), key=lambda found: (-found.lit, found.key))


def total(found: Sequence[Row], bins: int = 0) -> Row:
    """All rows as one."""
    known = any(row.allocated is not None for row in found)
    whole = Row(TOTAL, allocated=0 if known else None, bins=[0.0] * bins)
    for row in found:
        whole.nodes |= row.nodes
        for name in ("boots", "boots_failed", "lit", "booting", "saved", "visible"):
            setattr(whole, name, getattr(whole, name) + getattr(row, name))
        if whole.allocated is not None:
            whole.allocated += row.allocated or 0
        if row.spared is not None:
            whole.spared = (whole.spared or 0) + row.spared
        whole.bins = [a + b for a, b in zip(whole.bins, row.bins, strict=True)]
    return whole


def _by_place(
    history: History, asked: Question, given: Sequence[Allocation], row: Callable[[str], Row]
) -> None:
    window = asked.begin, asked.end
    place = asked.places.get(history.node)
    found = row(_place_key(history, place, asked.by))
    known = clip([(history.since, asked.end)], window)
    lit = clip([(span.begin, span.end) for span in history.lit], window)
    found.nodes.add(history.node)
    found.lit += length(lit)
    found.saved += max(0, length(known) - length(lit))
    strategy = None if place is None else place.strategy
    found.visible += length(clip(union(_visible(history, strategy, asked.end)), window))
    if found.allocated is not None:
        given_spans = union((a.begin, a.end) for a in given)
        found.allocated += overlap(lit, given_spans)
        if asked.suspend_time is not None:
            idle = minus(lit, given_spans)
            spared = sum(max(0, end - begin - asked.suspend_time) for begin, end in idle)
            found.spared = (found.spared or 0) + spared
    for boot in history.boots:
        _count_boot(found, boot.begin, boot.end, 1.0, done=boot.done, window=window)
    _fill(found, lit, window, 1.0)


def _by_person(
    history: History, asked: Question, given: Sequence[Allocation], row: Callable[[str], Row]
) -> None:
    window = asked.begin, asked.end
    users = {a.job: a.user for a in asked.allocations or ()}

    def keys(jobs: Sequence[int]) -> list[str]:
        names = [str(job) if asked.by == "job" else users.get(job, NOBODY) for job in jobs]
        return names or [NOBODY]

    for boot in history.boots:
        names = keys(boot.jobs)
        for name in names:
            share = 1 / len(names)
            _count_boot(row(name), boot.begin, boot.end, share, done=boot.done, window=window)
    for lit in history.lit:
        span = clip([(lit.begin, lit.end)], window)
        if asked.allocations is None:
            names = keys(lit.jobs)
            for name in names:
                _add_lit(row(name), history.node, span, window, 1 / len(names))
            continue
        used = [(a, clip(span, (a.begin, a.end))) for a in given]
        for allocation, part in used:
            if part:
                found = row(keys((allocation.job,))[0])
                _add_lit(found, history.node, part, window, 1.0)
                found.allocated = (found.allocated or 0) + length(part)
        rest = length(span) - overlap(span, union(s for _, part in used for s in part))
        if rest:
            row(NOBODY).lit += rest


def _add_lit(row: Row, node: str, lit: list[Span], window: Span, share: float) -> None:
    row.nodes.add(node)
    row.lit += length(lit) * share
    _fill(row, lit, window, share)


def _count_boot(  # noqa: PLR0913 - a boot's all
    row: Row, begin: int, end: int, share: float, *, done: bool, window: Span
) -> None:
    if window[0] <= end < window[1]:
        row.boots += share
        row.boots_failed += 0 if done else share
    row.booting += length(clip([(begin, end)], window)) * share


def _fill(row: Row, lit: list[Span], window: Span, share: float) -> None:
    if not row.bins:
        return
    width = (window[1] - window[0]) / len(row.bins)
    for number in range(len(row.bins)):
        part = int(window[0] + number * width), int(window[0] + (number + 1) * width)
        row.bins[number] += length(clip(lit, part)) * share


def _visible(history: History, strategy: str | None, until: int) -> Iterator[Span]:
    """The server's life: where it is never deleted, all the time that it is known."""
    if strategy != "delete" and not history.made:
        yield history.since, until
    for begin, end in history.made:
        yield history.since if begin is None else begin, until if end is None else end


def _place_key(history: History, place: Place | None, by: str) -> str:
    if by == "cloud" and history.cloud is not None:
        return history.cloud
    if place is None:
        return NOBODY
    found: str | None = getattr(place, by)
    return found or NOBODY
