"""What the audit worker counts."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter

from workers.audit.record import QUARANTINED, Record


class AuditMetrics:
    """The audit worker's figures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._recorded = Counter(
            "lamplighter_audit_events", "Events that the log has taken in.", registry=registry
        )
        self._folded = Counter(
            "lamplighter_audit_repeats",
            "Events that the log had already.",
            registry=registry,
        )
        self._conflicts = Counter(
            "lamplighter_audit_conflicts",
            "Events that contradict one in the log: there must be none.",
            registry=registry,
        )
        self._quarantined = Counter(
            "lamplighter_audit_quarantined",
            "Messages that could not be read.",
            registry=registry,
        )

    def wrote(self, recorded: int, folded: int, conflicts: int) -> None:
        """A batch is committed."""
        self._recorded.inc(recorded)
        self._folded.inc(folded)
        self._conflicts.inc(conflicts)

    def read(self, records: Iterable[Record]) -> None:
        """These records are committed."""
        self._quarantined.inc(sum(record.type == QUARANTINED for record in records))
