"""Outcomes as a report reads them, from complete events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.report.outcome import ReportedAction, ReportedOutcome

if TYPE_CHECKING:
    from schemas.events import RequestEvent


def outcome_of(event: RequestEvent) -> ReportedOutcome:
    """The outcome in a complete event."""
    return ReportedOutcome(
        transition=event.transition,
        kind=event.kind,
        node=event.node,
        generation=event.generation,
        time=event.time,
        cloud=event.cloud,
        actions=tuple(ReportedAction(a.action, a.time, a.result) for a in event.actions),
        jobs=tuple(sorted({job.job_id for job in event.jobs})),
    )
