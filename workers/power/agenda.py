"""Which nodes the engine has to decide about now; all others cost nothing meanwhile."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from math import inf

from workers.power.steps import WaitFor


class Agenda:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._touched: set[str] = set()
        self._due: list[tuple[float, str]] = []
        self._until: dict[str, float] = {}
        self._for_listing: defaultdict[str, set[str]] = defaultdict(set)
        self._for_whole: defaultdict[str, set[str]] = defaultdict(set)

    def touch(self, names: Iterable[str]) -> None:
        """Something about these nodes has changed."""
        self._touched.update(names)

    def wait(self, name: str, cloud: str, step: WaitFor) -> None:
        """Do not decide about this node before that."""
        if step.listing:
            (self._for_whole if step.whole else self._for_listing)[cloud].add(name)
        if step.until is not None:
            self._until[name] = step.until
            heapq.heappush(self._due, (step.until, name))

    def listed(self, cloud: str, *, whole: bool) -> None:
        """A listing of the cloud has come."""
        self._touched |= self._for_listing.pop(cloud, set())
        if whole:
            self._touched |= self._for_whole.pop(cloud, set())

    def wants_whole(self, cloud: str) -> bool:
        """Whether a node waits for a listing of all the cloud's servers."""
        return bool(self._for_whole.get(cloud))

    def take(self, now: float) -> list[str]:
        """The nodes to decide about now."""
        while self._due and self._due[0][0] <= now:
            until, name = heapq.heappop(self._due)
            if self._until.get(name) == until:
                del self._until[name]
                self._touched.add(name)
        taken, self._touched = sorted(self._touched), set()
        for name in taken:
            self._until.pop(name, None)
        return taken

    def next_at(self) -> float:
        """When to decide next: 0 for now, infinity for not before something happens."""
        if self._touched:
            return 0.0
        return self._due[0][0] if self._due else inf
