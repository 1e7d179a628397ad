"""Which nodes the engine has to decide about now; all others cost nothing meanwhile."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from math import inf

from workers.power.steps import WaitFor


class Agenda:
    """Times are monotonic seconds.

    Attributes:
        touched: the nodes to decide about now.
        due: a heap of the moments when others are due by time alone; some are out of date.
        for_whole: by cloud, those that wait for a listing of all its servers.
    """

    def __init__(self) -> None:
        self.touched: set[str] = set()
        self.due: list[tuple[float, str]] = []
        self._until: dict[str, float] = {}
        self._for_listing: defaultdict[str, set[str]] = defaultdict(set)
        self.for_whole: defaultdict[str, set[str]] = defaultdict(set)

    def touch(self, names: Iterable[str]) -> None:
        """Something about these nodes has changed."""
        self.touched.update(names)

    def wait(self, name: str, cloud: str, step: WaitFor) -> None:
        """Do not decide about this node before that."""
        if step.listing:
            (self.for_whole if step.whole else self._for_listing)[cloud].add(name)
        if step.until is not None:
            self._until[name] = step.until
            heapq.heappush(self.due, (step.until, name))

    def listed(self, cloud: str, *, whole: bool) -> None:
        """A listing of the cloud has come."""
        self.touched |= self._for_listing.pop(cloud, set())
        if whole:
            self.touched |= self.for_whole.pop(cloud, set())

    def take(self, now: float) -> list[str]:
        """The nodes to decide about now."""
        while self.due and self.due[0][0] <= now:
            until, name = heapq.heappop(self.due)
            if self._until.get(name) == until:
                del self._until[name]
                self.touched.add(name)
        taken, self.touched = sorted(self.touched), set()
        for name in taken:
            self._until.pop(name, None)
        return taken

    def next_at(self) -> float:
        """When to decide next: 0 for now, infinity for not before something happens."""
        if self.touched:
            return 0.0
        return self.due[0][0] if self.due else inf
