"""How fast a cloud may be called, learned from its answers: no clock of its own, no I/O.

In flight: slow start, then additive increase and multiplicative decrease. Once the cloud has said that it
was too much, a rate as well: a limit of n requests a second is not kept by few requests in flight.
"""

from collections import deque
from dataclasses import dataclass, field

_FIRST_WINDOW = 4.0
_LESS = 0.7
_SLOWEST = 0.5
# Calls a second gained in a second without a refusal: some, and some in a hundred.
_GAIN, _GAIN_SHARE = 0.1, 0.02
_LATELY = 1.0


@dataclass(slots=True)
class Pace:
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
    _grown: float = 0.0
    _answers: deque[float] = field(default_factory=deque)

    def allows(self, in_flight: int, now: float) -> bool:
        """Whether one more may be sent."""
        return in_flight < int(self.window) and now >= max(self.rests_until, self._next)

    def due(self) -> float:
        """When the next may be sent, as far as time decides."""
        return max(self.rests_until, self._next)

    def sent(self, now: float) -> None:
        """One was sent."""
        if self.rate is not None:
            self._next = max(now, self._next) + 1 / self.rate

    def answered(self, now: float) -> None:
        """The cloud took one."""
        self._answers.append(now)
        self._forget(now)
        step = 1.0 if self._starting else 1 / self.window
        self.window = min(float(self.most), self.window + step)
        if self.rate is not None:
            gain = _GAIN + _GAIN_SHARE * self.rate
            self.rate += gain * min(max(now - self._grown, 0.0), _LATELY)
            self._grown = now

    def refused(self, now: float, retry_after: float) -> None:
        """The cloud said that it was too much; of many such answers to one burst the first counts."""
        if now >= self.rests_until:
            self._forget(now)
            lately = float(len(self._answers)) if self.rate is None else self.rate
            self.rate = max(_SLOWEST, lately * _LESS)
            self.window = max(1.0, self.window / 2)
            self._starting = False
            self._grown = now + retry_after
        self.rests_until = max(self.rests_until, now + retry_after)

    def _forget(self, now: float) -> None:
        while self._answers and self._answers[0] < now - _LATELY:
            self._answers.popleft()
