"""Tells of jobs, on the events' exchange: whose they are, and that a node's boot has failed them."""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import structlog

from schemas.events import Cause, Notice, RequestEvent
from schemas.jobs import JobEvent, JobTransition
from workers.broker import outgoing
from workers.broker.link import Link
from workers.slurm.causes import OURS
from workers.slurm.decide import SlurmUpdate
from workers.slurm.job_origins import Origin, uws_id
from workers.slurm.requeued import Ended
from workers.slurm.scontrol import Slurm

_CONFIRM_SECONDS = 15.0
# Whom Slurm was asked about already; asking again would only cost time.
_REMEMBERED = 20_000


class JobEvents:
    """Publishes, and returns when the broker has confirmed; what is told twice is the same event.

    Args:
        link: publishes.
        slurm: is asked where jobs come from.
        cluster: whose jobs.
        jobdata: OPUS's SLURM_JOBDATA_PATH, or None where no OPUS submits jobs.
    """

    def __init__(self, link: Link, slurm: Slurm, cluster: str, jobdata: str | None) -> None:
        self._link = link
        self._slurm = slurm
        self._cluster = cluster
        self._jobdata = jobdata
        self._asked: deque[int] = deque(maxlen=_REMEMBERED)
        self._log = structlog.get_logger()

    def identify(self, job_ids: Iterable[int]) -> None:
        """Tell whose these jobs are, where their batch scripts show it.

        Raises:
            SlurmAwayError: slurmctld does not answer.
            BrokerError: the broker has not taken it.
        """
        unknown = sorted(set(job_ids).difference(self._asked)) if self._jobdata else []
        if not unknown:
            return
        origins = self._slurm.origins(unknown)
        self._publish(identified(self._cluster, origins, self._jobdata or "", time.time_ns()))
        self._asked.extend(unknown)

    def fail(self, ended: Mapping[int, Ended]) -> None:
        """Tell of jobs that have ended, by their ids.

        Raises:
            SlurmAwayError: slurmctld does not answer.
            BrokerError: the broker has not taken it.
        """
        if not ended:
            return
        origins = self._slurm.origins(ended)
        now = time.time_ns()
        events = [
            failure(self._cluster, origins[job_id], ended[job_id], self._jobdata, now)
            for job_id in sorted(origins.keys() & ended.keys())
        ]
        self._publish(events)
        for event in events:
            self._log.warning("job_failed", job=event.job_id, state=event.state, uws=event.uws_id)

    def rehearse(self, would: Sequence[tuple[RequestEvent, SlurmUpdate]]) -> None:
        """Tell of what Slurm would have been told, were it no dry run.

        Raises:
            BrokerError: the broker has not taken it.
        """
        self._publish([rehearsal(told, action) for told, action in would])

    def _publish(self, events: Sequence[JobEvent | Notice]) -> None:
        outgoing.publish_all(self._link, map(outgoing.event, events), _CONFIRM_SECONDS)


def identified(
    cluster: str, origins: Mapping[int, Origin], jobdata: str, now: int
) -> list[JobEvent]:
    """The events of those jobs that show whose they are; `now` in ns since the epoch."""
    return [
        JobEvent(
            JobTransition.IDENTIFIED, cluster, origin.job_id, origin.submitted_at, now, uws_id=found
        )
        for _, origin in sorted(origins.items())
        if (found := uws_id(origin.script, jobdata)) is not None
    ]


def rehearsal(told: RequestEvent, action: SlurmUpdate) -> Notice:
    """The notice of what Slurm would have been told for an event."""
    return Notice(
        name="group.dry_run",
        cluster=told.cluster,
        subject=told.node,
        key=told.id,
        time=told.time,
        message=f"Slurm would be told: {action.why}: {action.reason or action.node}",
        remedy="none: it is a dry run",
        details={"request_id": told.request_id, "would": action.why, "reason": action.reason},
        correlation_id=told.correlation_id,
    )


def failure(cluster: str, origin: Origin, ended: Ended, jobdata: str | None, now: int) -> JobEvent:
    """The event of a job that has ended; the first reason that Slurm was given stands for all."""
    words = next((action.reason for action in ended.actions if action.reason), "")
    error, _, message = words.removeprefix(OURS).partition(": ")
    return JobEvent(
        JobTransition.FAILED,
        cluster,
        origin.job_id,
        origin.submitted_at,
        now,
        uws_id=uws_id(origin.script, jobdata) if jobdata is not None else None,
        state=ended.state,
        nodes=tuple(sorted({action.node for action in ended.actions})),
        cause=Cause(error or "unknown", message or "a node of it did not boot"),
    )
