"""How fast a cloud may be called, learned from its answers: no clock of its own, no I/O.

In flight: slow start, then additive increase and multiplicative decrease. Once the cloud has said that it
was too much, a rate as well: a limit of n requests a second is not kept by few requests in flight.
"""

from collections import deque
from dataclasses import dataclass, field

_FIRST_WINDOW = 4.0
_LESS = 0.7
_SLOWEST = 0.5
_FIRST_RATE = 3.0
# Of the requests that a cloud takes, the share that listings may use up.
_LISTINGS = 0.25
# The share gained in a second without a refusal: much while far from where the last refusal came.
_CLIMB, _CREEP = 0.15, 0.02
_NEAR = 0.85
_LATELY = 1.0


@dataclass(slots=True)
class RateLimiter:
    """The pace of one cloud; times are monotonic seconds.

    Attributes:
        most: calls in flight that are never exceeded.
        window: calls in flight that are allowed now.
        rate: calls a second, or None while the cloud has not complained.
        rests_until: nothing is sent before.
    """

    most: int
    window: float = _FIRST_WINDOW
    rate: float | None = None
    rests_until: float = 0.0
    _starting: bool = True
    _next: float = 0.0
    _refused_at: float | None = None
    _grown: float = 0.0
    _answers: deque[float] = field(default_factory=deque)

    def allows(self, in_flight: int, now: float) -> bool:
        """Whether one more may be sent."""
        return in_flight < int(self.window) and now >= max(self.rests_until, self._next)

    def due(self) -> float:
        """When the next may be sent, as far as time decides."""
        return max(self.rests_until, self._next)

    def interval(self, shortest: float) -> float:
        """Seconds between two listings: as wished, unless that left too little for calls."""
        return shortest if self.rate is None else max(shortest, 1 / (self.rate * _LISTINGS))

    def sent(self, now: float) -> None:
        """One was sent, also what needs no leave: a listing."""
        if self.rate is not None:
            self._next = now + 1 / self.rate

    def answered(self, now: float) -> None:
        """The cloud took one."""
        self._answers.append(now)
        self._forget(now)
        step = 1.0 if self._starting else 1 / self.window
        self.window = min(float(self.most), self.window + step)
        if self.rate is not None:
            near = self._refused_at is not None and self.rate > _NEAR * self._refused_at
            gain = (_CREEP if near else _CLIMB) * min(max(now - self._grown, 0.0), _LATELY)
            self.rate *= 1 + gain
            self._grown = now

    def refused(self, now: float, retry_after: float) -> None:
        """The cloud said that it was too much; of many such answers to one burst the first counts."""
        if now >= self.rests_until:
            self._forget(now)
            lately = max(float(len(self._answers)), _FIRST_RATE)
            if self.rate is not None:
                lately = self._refused_at = self.rate
            self.rate = max(_SLOWEST, lately * _LESS)
            self.window = max(1.0, self.window / 2)
            self._starting = False
            self._grown = now + retry_after
        self.rests_until = max(self.rests_until, now + retry_after)

    def _forget(self, now: float) -> None:
        while self._answers and self._answers[0] < now - _LATELY:
            self._answers.popleft()
