"""What the slurm worker counts."""

from prometheus_client import CollectorRegistry, Counter


class SlurmMetrics:
    """The slurm worker's figures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._told = Counter(
            "lamplighter_slurm_nodes_failed",
            "Nodes that slurmctld was told to take out of service.",
            registry=registry,
        )
        self._away = Counter(
            "lamplighter_slurm_away",
            "Times that slurmctld did not answer.",
            registry=registry,
        )

    def told(self, count: int) -> None:
        """So many nodes were taken out of service."""
        self._told.inc(count)

    def away(self) -> None:
        """Slurmctld did not answer."""
        self._away.inc()
