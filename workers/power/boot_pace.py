"""When to list a cloud on which nodes boot: seldom before a boot can be over, often about then. Pure.

A boot takes about as long as the last ones of its group. What is saved while it cannot be over yet is
spent when it is about to be: in all, a cloud is not listed more often than once an interval.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from workers.power.node import PendingNode

# The boots of a group that count, and how many are enough.
_LAST, _ENOUGH = 10, 3
# A boot is not expected before this part of the shortest, nor after this part of the longest.
_FIRST, _LATEST = 0.95, 1.1
# Intervals between two listings: at most, so that a boot that fails early is noticed; at least; and
# how many of those saved may be spent later.
_SELDOM, _OFTEN, _MOST_SAVED = 4.0, 0.25, 20.0
# With more nodes pending, one of them is always about to be ready, and each listing is a long one.
_MANY = 200


@dataclass(slots=True)
class BootPace:
    """The pace of one cloud's listings; times in seconds."""

    _boots: dict[str, deque[float]] = field(default_factory=dict)
    _saved: float = 0.0

    def booted(self, group: str, took: float) -> None:
        """A boot of this group was seen to be over, so long after its call was answered."""
        self._boots.setdefault(group, deque(maxlen=_LAST)).append(took)

    def left(self, node: PendingNode, now: float) -> float | None:
        """Seconds until the node's boot may be over; None if that is not known. `now` is monotonic."""
        boots = self._boots.get(node.group_name, ())
        if not node.is_booting or node.is_calling or len(boots) < _ENOUGH:
            return None
        age = now - node.patient_since
        return None if age > max(boots) * _LATEST else max(0.0, min(boots) * _FIRST - age)

    def next_in(self, nodes: Sequence[PendingNode], interval: float, now: float) -> float:
        """Seconds until the next listing of the cloud on which these nodes are pending.

        `interval` is the usual time; a listing is made now (monotonic seconds).
        """
        if len(nodes) > _MANY:
            return interval
        wanted = inf
        for node in nodes:
            left = self.left(node, now)
            wanted = min(wanted, interval if left is None else max(left, _OFTEN * interval))
            if wanted <= _OFTEN * interval:
                break
        wanted = interval if wanted == inf else min(wanted, _SELDOM * interval)
        saved = self._saved + wanted / interval - 1
        if saved < 0:
            wanted, saved = interval, self._saved
        self._saved = min(saved, _MOST_SAVED)
        return wanted
