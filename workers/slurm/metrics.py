"""The metrics of the slurm worker."""

from prometheus_client import CollectorRegistry, Counter


class SlurmMetrics:
    """Counts failed nodes, and failures to reach slurmctld."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.nodes_failed = Counter(
            "lamplighter_slurm_nodes_failed",
            "Nodes whose failed boot was reported to slurmctld.",
            registry=registry,
        )
        self.away = Counter(
            "lamplighter_slurm_away",
            "Times that slurmctld did not answer.",
            registry=registry,
        )
