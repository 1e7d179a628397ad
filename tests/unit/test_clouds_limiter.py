"""A cloud is called no faster than it likes, and nearly as fast."""

from __future__ import annotations

import heapq

import pytest

from workers.clouds.health import RateLimiter

LATENCY = 0.05


class LimitedCloud:
    """Takes so many requests a second, with a small burst; refuses the rest with Retry-After 1."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens, self._then = float(burst), 0.0
        self.taken = self.refused = 0

    def take(self, now: float) -> bool:
        self._tokens += (now - self._then) * self._per_second
        self._tokens, self._then = min(self._tokens, self._burst), now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.taken += 1
        return True


def drive(pace: RateLimiter, cloud: LimitedCloud, calls: int) -> float:
    """Make so many calls as the engine would, on a clock of our own; how long it took."""
    now, done, in_flight = 0.0, 0, 0
    answers: list[tuple[float, bool]] = []
    while done < calls:
        while done + in_flight < calls and pace.allows(in_flight, now):
            pace.sent(now)
            in_flight += 1
            heapq.heappush(answers, (now + LATENCY, cloud.take(now)))
        if answers and answers[0][0] <= max(now, pace.due()):
            now, taken = heapq.heappop(answers)
            in_flight -= 1
            if taken:
                pace.answered(now)
                done += 1
            else:
                pace.refused(now, 1.0)
        else:
            now = max(now + 0.01, pace.due())
    return now


@pytest.mark.parametrize("per_second", [2, 5, 20, 50])
def test_few_calls_are_wasted_on_a_cloud_that_limits_them(per_second: int) -> None:
    """At most one call in ten is refused, and the limit is used to at least two thirds."""
    cloud = LimitedCloud(per_second, burst=per_second)
    took = drive(RateLimiter(most=16), cloud, calls=60 * per_second)
    assert cloud.refused <= 0.1 * cloud.taken
    assert took <= 60 * 1.5


def test_a_cloud_that_never_refuses_is_called_with_all_that_is_allowed() -> None:
    cloud = LimitedCloud(100_000, burst=100_000)
    took = drive(RateLimiter(most=16), cloud, calls=1600)
    assert took < 1.2 * 1600 / 16 * LATENCY
    assert cloud.refused == 0


def test_many_refusals_of_one_burst_count_once() -> None:
    pace = RateLimiter(most=16)
    for number in range(20):
        pace.answered(number / 100)
    window = pace.window
    for _ in range(8):
        pace.refused(1.0, 2.0)
    assert pace.window == window / 2
    assert not pace.allows(0, 2.9)
    assert pace.allows(0, 3.1)


def test_it_never_stands_still() -> None:
    pace = RateLimiter(most=16)
    for number in range(50):
        pace.refused(number * 10.0, 1.0)
    assert pace.rate is not None
    assert pace.rate > 0
    assert pace.allows(0, 1000.0)
