"""What waits in the spool, told by the relay; read anew for each scrape."""

import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from producers import spool

_NS = 1_000_000_000


class SpoolMetrics(Collector):
    """The spool's figures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Read them; a spool that cannot be read has none, which an alert sees."""
        try:
            waiting = spool.waiting(self._folder)
        except spool.SpoolError:
            return
        calls = GaugeMetricFamily(
            "lamplighter_spooled_calls", "Calls of hooks that the broker has not confirmed."
        )
        calls.add_metric([], len(waiting))
        oldest = GaugeMetricFamily(
            "lamplighter_spooled_call_age_max_seconds",
            "Since the oldest of them was asked; 0 where there is none.",
        )
        oldest.add_metric([], _age(waiting[0]) if waiting else 0.0)
        yield calls
        yield oldest


def _age(path: Path) -> float:
    """A call's generation leads its file's name; one that nobody spooled counts as new."""
    generation = path.name.partition("-")[0]
    if not generation.isdecimal():
        return 0.0
    return max(0.0, (time.time_ns() - int(generation)) / _NS)
