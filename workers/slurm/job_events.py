"""Publishes events about jobs: the UWS job of a Slurm job, and jobs that ended with a failed boot."""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import structlog

from schemas.events import RequestEvent
from schemas.jobs import JobEvent, JobTransition
from schemas.notices import Notice
from workers.broker import outgoing
from workers.broker.link import Link
from workers.slurm.causes import cause_in
from workers.slurm.job_origins import uws_id
from workers.slurm.nodes import JobState
from workers.slurm.requeued import EndedJob
from workers.slurm.scontrol import Slurm
from workers.slurm.updates import SlurmUpdate

_CONFIRM_SECONDS = 15.0
# How many identified jobs to remember; asking Slurm for them again would only cost time.
_MOST_KNOWN = 20_000


class JobEvents:
    """Publishes events, and returns when the broker has confirmed them; a repeated event has no effect.

    `slurm` shows the origins of jobs. `jobdata` is SLURM_JOBDATA_PATH of OPUS, or None if OPUS does
    not submit jobs.
    """

    def __init__(self, link: Link, slurm: Slurm, cluster: str, jobdata: str | None) -> None:
        self._link = link
        self._slurm = slurm
        self._cluster = cluster
        self._jobdata = jobdata
        self._known: deque[int] = deque(maxlen=_MOST_KNOWN)
        self._log = structlog.get_logger()

    def identify(self, job_ids: Iterable[int]) -> None:
        """Report the UWS jobs of these jobs, if their batch scripts show them.

        Raises:
            SlurmAwayError: slurmctld does not answer.
            BrokerError: the broker did not accept the events.
        """
        unknown = sorted(set(job_ids).difference(self._known)) if self._jobdata else []
        if not unknown:
            return
        jobs = self._slurm.jobs(unknown)
        self._publish(identification_events(self._cluster, jobs, self._jobdata, time.time_ns()))
        self._known.extend(unknown)

    def report_ended(self, ended: Mapping[int, EndedJob]) -> None:
        """Report jobs that have ended, by ID.

        Raises:
            BrokerError: the broker did not accept the events.
        """
        if not ended:
            return
        now = time.time_ns()
        events = [
            failure_event(self._cluster, one, self._jobdata, now)
            for _, one in sorted(ended.items())
            if one.job.submitted_at is not None
        ]
        self._publish(events)
        for event in events:
            self._log.warning("job_failed", job=event.job_id, state=event.state, uws=event.uws_id)

    def report_dry_run(self, skipped: Sequence[tuple[RequestEvent, SlurmUpdate]]) -> None:
        """Report the updates that a dry run has skipped.

        Raises:
            BrokerError: the broker did not accept the notices.
        """
        self._publish([dry_run_notice(event, update) for event, update in skipped])

    def _publish(self, events: Sequence[JobEvent | Notice]) -> None:
        outgoing.publish_all(self._link, map(outgoing.event, events), _CONFIRM_SECONDS)


def identification_events(
    cluster: str, jobs: Mapping[int, JobState], jobdata: str | None, now: int
) -> list[JobEvent]:
    """The events of the jobs that belong to a UWS job; `now` in ns since the epoch."""
    return [
        JobEvent(JobTransition.IDENTIFIED, cluster, job.job_id, job.submitted_at, now, uws_id=found)
        for _, job in sorted(jobs.items())
        if job.submitted_at is not None and (found := uws_id(job.script, jobdata)) is not None
    ]


def dry_run_notice(event: RequestEvent, update: SlurmUpdate) -> Notice:
    """The notice of an update that a dry run has skipped."""
    return Notice(
        name="group.dry_run",
        cluster=event.cluster,
        subject=event.node,
        key=event.id,
        time=event.time,
        message=f"update of Slurm skipped: {update.why}: {update.reason or update.node}",
        remedy="none: the group is in a dry run",
        details={"request_id": event.request_id, "would": update.why, "reason": update.reason},
        correlation_id=event.correlation_id,
    )


def failure_event(cluster: str, ended: EndedJob, jobdata: str | None, now: int) -> JobEvent:
    """The event of a job that has ended; its cause is the first reason that Slurm received."""
    text = next((update.reason for update in ended.updates if update.reason), "")
    return JobEvent(
        JobTransition.FAILED,
        cluster,
        ended.job.job_id,
        ended.job.submitted_at or 0,
        now,
        uws_id=uws_id(ended.job.script, jobdata),
        state=ended.job.state,
        nodes=tuple(sorted({update.node for update in ended.updates})),
        cause=cause_in(text, "one of its nodes did not boot"),
    )
