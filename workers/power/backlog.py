"""A backlog is read before it is carried out: its newest requests come last."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from math import inf

from workers.broker.depths import QueueDepth
from workers.broker.link import Link
from workers.broker.topology import RESUME_QUEUE, SUSPEND_QUEUE
from workers.power.events import Counted
from workers.power.state import EngineState

QUEUES = RESUME_QUEUE, SUSPEND_QUEUE
# Seconds: between two counts; at most for the rest of a backlog; at most for all queues to be consumed.
_PAUSE, _MOST, _MOST_CONSUMING = 0.2, 300.0, 5.0


@dataclass(slots=True)
class Backlog:
    """Lets the broker count what is left in the work queues while nodes are behind. Times are monotonic."""

    link: Link
    state: EngineState
    post: Callable[[Counted], None]
    _next_at: float = 0.0
    _since: float = inf

    def count(self, now: float) -> float:
        """Count, unless that is under way or not due; when it is due, infinity during a count."""
        self._since = min(self._since, now)
        consuming = self.link.problem is None
        if now - self._since > (_MOST if consuming else _MOST_CONSUMING):
            self._caught_up()
        elif consuming and now >= self._next_at:
            self._next_at = inf
            depths = tuple(self.link.count(queue) for queue in QUEUES)
            # the last one is answered last
            depths[-1].add_done_callback(lambda _: self.post(Counted(depths)))
        return self._next_at

    def counted(self, depths: tuple[Future[QueueDepth], ...], now: float) -> None:
        """Take the counts, which came after all that the broker had delivered before."""
        self._next_at = now + _PAUSE
        if not any(one.exception() or one.result().ready for one in depths):
            self._caught_up()

    def _caught_up(self) -> None:
        self._since = inf
        self.state.agenda.caught_up()
