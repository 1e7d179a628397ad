"""Waits between attempts: they double from failure to failure, with jitter."""

import math
import random
import time

_SHORTEST, _LONGEST = 0.2, 5.0


class Backoff:
    """The waits after failures of one thing; a time without failure makes them short again.

    `memory` is the shortest such time, in seconds; 0 if an attempt that fails fails at once.
    """

    def __init__(self, memory: float = 0.0) -> None:
        self._memory = memory
        self._ceiling = 0.0
        self._failed_at = -math.inf  # monotonic time may count from the start of this host

    def next(self) -> float:
        """Note a failure; the seconds to wait before the next attempt."""
        now = time.monotonic()
        # an attempt that fails at once follows its failure after at most `_ceiling` seconds
        quick = now - self._failed_at < max(2 * self._ceiling, self._memory)
        self._failed_at = now
        self._ceiling = min(_LONGEST, 2 * self._ceiling) if quick else _SHORTEST
        return random.uniform(self._ceiling / 2, self._ceiling)  # noqa: S311 - jitter
