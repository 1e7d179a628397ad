"""What `lamplighter up` counts."""

from prometheus_client import CollectorRegistry, Counter


class SupervisorMetrics:
    """The supervisor's figures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._starts = Counter(
            "lamplighter_worker_starts",
            "Times that `up` has started a worker.",
            ["worker"],
            registry=registry,
        )

    def started(self, worker: str) -> None:
        """A worker was started."""
        self._starts.labels(worker).inc()
