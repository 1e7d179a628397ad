"""A token bucket that limits the calls per second."""


class RateLimit:
    """The level of the bucket; size and rate may change between calls."""

    def __init__(self) -> None:
        self._level: float | None = None
        self._at = 0.0

    def take(self, now: float, per_second: float | None, burst: int) -> float:
        """Take one call from the bucket at ``now`` (seconds).

        Returns:
            0 if the call may pass, else the seconds until the next one may.
        """
        if per_second is None:
            self._level = None
            return 0.0
        if self._level is None:
            self._level = float(burst)
        else:
            self._level = min(burst, self._level + (now - self._at) * per_second)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / per_second
