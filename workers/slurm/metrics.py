"""The metrics of the slurm worker."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from workers.slurm.prolog_release import Release


class SlurmMetrics:
    """Counts failed nodes, and failures to reach slurmctld."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.nodes_failed = Counter(
            "lamplighter_slurm_nodes_failed",
            "Nodes whose failed boot was reported to slurmctld.",
            registry=registry,
        )
        self.away = Counter(
            "lamplighter_slurm_away", "Times that slurmctld did not answer.", registry=registry
        )


class PrologMetrics:
    """Counts the jobs that wait in lamplighter-prolog, and why they go on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting = Gauge(
            "lamplighter_prolog_waiting",
            "Jobs that wait in lamplighter-prolog for their nodes.",
            registry=registry,
        )
        self.slots = Gauge(
            "lamplighter_prolog_slots",
            "Jobs that may wait in lamplighter-prolog at once.",
            registry=registry,
        )
        self._released = Counter(
            "lamplighter_prolog_released",
            "Jobs that went on, by reason; full: all slots were taken.",
            ["reason"],
            registry=registry,
        )
        for reason in Release:
            self._released.labels(str(reason))

    def released(self, why: Release) -> None:
        """Count a job that goes on."""
        self._released.labels(str(why)).inc()
