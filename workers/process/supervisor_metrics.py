"""The metrics of `lamplighter up` and of the relay."""

from collections.abc import Iterator, Sequence
from mmap import mmap
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from producers import spool


class SupervisorMetrics(Collector):
    """The metrics of `lamplighter up`, in memory that it shares with the process that serves them."""

    def __init__(self, workers: Sequence[str]) -> None:
        self._workers = workers
        self._starts = memoryview(mmap(-1, 8 * len(workers))).cast("Q")

    def started(self, worker: str) -> None:
        """Count a start of a worker."""
        if worker in self._workers:
            self._starts[self._workers.index(worker)] += 1

    def collect(self) -> Iterator[Metric]:
        """Read the counts; workers that never started have none."""
        text = "Number of times that `up` started a worker."
        starts = CounterMetricFamily("lamplighter_worker_starts", text, labels=["worker"])
        for worker, count in zip(self._workers, self._starts, strict=True):
            if count:
                starts.add_metric([worker], count)
        yield starts


class SpoolMetrics(Collector):
    """The metrics of the relay; each scrape reads the spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Read the spool; there are no metrics if it is unreadable, and an alert reports that."""
        try:
            waiting = spool.waiting(self._folder)
        except spool.SpoolError:
            return
        calls = GaugeMetricFamily(
            "lamplighter_spooled_calls",
            "Calls of hooks, and notices of operators, that the broker has not confirmed.",
        )
        calls.add_metric([], len(waiting))
        oldest = GaugeMetricFamily(
            "lamplighter_spooled_call_age_max_seconds",
            "Age of the oldest spooled call; 0 if the spool is empty.",
        )
        oldest.add_metric([], spool.age(waiting[0]) if waiting else 0.0)
        yield calls
        yield oldest
