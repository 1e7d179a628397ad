"""Counters of the audit worker."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter

from workers.audit.record import QUARANTINED, Record


class AuditMetrics:
    """The audit worker's own counters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._recorded = Counter(
            "lamplighter_audit_events", "Events recorded in the log.", registry=registry
        )
        self._folded = Counter(
            "lamplighter_audit_repeats",
            "Events that were already in the log.",
            registry=registry,
        )
        self._conflicts = Counter(
            "lamplighter_audit_conflicts",
            "Events that contradict a record in the log; must be 0.",
            registry=registry,
        )
        self._quarantined = Counter(
            "lamplighter_audit_quarantined",
            "Messages that could not be parsed.",
            registry=registry,
        )

    def wrote(self, recorded: int, folded: int, conflicts: int) -> None:
        """Count a committed batch."""
        self._recorded.inc(recorded)
        self._folded.inc(folded)
        self._conflicts.inc(conflicts)

    def read(self, records: Iterable[Record]) -> None:
        """Count the quarantined among these committed records."""
        self._quarantined.inc(sum(record.type == QUARANTINED for record in records))
