"""One row of a report: the usage of a group, cloud, user or job. Pure; times are ns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ops.report.history import Boot
from ops.report.question import StartWait
from ops.report.spans import Span, clip, length

TOTAL = "total"
# ns that a job waits in the mean for slurmctld's timer, which runs every 30 s.
TIMER_MEAN = 15_000_000_000
_SUMMED = (
    *("boots", "boots_failed", "powered_on", "booting", "allocated"),
    *("timer", "timer_saved"),
    *("unknown", "suspend_saved", "saved", "visible", "orphans", "strays"),
)


@dataclass(slots=True)
class UsageRow:
    """The usage of one key.

    Attributes:
        nodes: the nodes of which anything is known.
        powered_on: how long nodes were powered on.
        booting: from a boot's first call to its end.
        allocated: powered on and allocated to jobs; None if allocations are not known.
        timer: powered on and idle, because the node's job waited for slurmctld's timer; None if unknown.
        timer_saved: what lamplighter-prolog has saved of that; None if it is not in use.
        unknown: powered on, but Slurm did not report the node: neither allocated nor idle.
        suspend_saved: the idle time that the given SuspendTime would have saved, not counting its boots.
        saved: powered off while the node was known: the difference to nodes that are always on.
        visible: what EGI's accounting counts: the whole life of servers, running or stopped.
        orphans: nodes that were running although Slurm considered them powered down.
        bins: the time powered on, by part of the report's time.
    """

    key: str
    nodes: set[str] = field(default_factory=set)
    boots: float = 0
    boots_failed: float = 0
    powered_on: float = 0
    booting: float = 0
    allocated: float | None = None
    timer: float | None = None
    timer_saved: float | None = None
    unknown: float = 0
    suspend_saved: float | None = None
    saved: float = 0
    visible: float = 0
    orphans: int = 0
    strays: int = 0
    bins: list[float] = field(default_factory=list)

    @property
    def idle(self) -> float | None:
        """Powered on, but not allocated; None if allocations are not known."""
        if self.allocated is None:
            return None
        return max(0.0, self.powered_on - self.unknown - self.allocated)

    def add_powered_on(self, spans: Sequence[Span], window: Span, share: float = 1.0) -> None:
        """Add this share of the spans, which must lie within the window."""
        self.powered_on += length(spans) * share
        parts, (since, until) = len(self.bins), window
        for begin, end in spans if parts else ():
            at, part = begin, (begin - since) * parts // (until - since)
            while at < end:
                edge = min(end, since + (until - since) * (part + 1) // parts)
                self.bins[part] += (edge - at) * share
                at, part = edge, part + 1

    def add_start_wait(
        self, wait: StartWait, idle: Sequence[Span], window: Span, *, has_prolog: bool
    ) -> None:
        """Add a node's wait for slurmctld's timer, and how much shorter it was than without prolog.

        Only its `idle` parts count as idle.
        """
        self.timer = (self.timer or 0) + length(clip(idle, window))
        if has_prolog and window[0] <= wait.end < window[1]:
            # unbiased: where no prolog was in use, the waits are 15 s in the mean
            self.timer_saved = (self.timer_saved or 0) + TIMER_MEAN - (wait.end - wait.begin)

    def add_boot(self, boot: Boot, window: Span, share: float = 1.0) -> None:
        """Add this share of a boot: its count if it ended within the window, and its time there."""
        if window[0] <= boot.end < window[1]:
            self.boots += share
            self.boots_failed += 0 if boot.done else share
        self.booting += length(clip([(boot.begin, boot.end)], window)) * share


def total(rows: Sequence[UsageRow], bins: int = 0) -> UsageRow:
    """The sum of all rows."""
    parts = [sum(column) for column in zip(*(row.bins for row in rows), strict=True)]
    whole = UsageRow(TOTAL, set().union(*(row.nodes for row in rows)), bins=parts or [0.0] * bins)
    for name in _SUMMED:
        known = [value for row in rows if (value := getattr(row, name)) is not None]
        if known:  # otherwise the default of the field: 0, or None for not known
            setattr(whole, name, sum(known))
    return whole
