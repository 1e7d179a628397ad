"""Handles the jobs of failed boots: starts the requeued ones at once, and reports those that ended."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa
import structlog

from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.config.settings import Settings
from workers.config.tables import SlurmSettings
from workers.slurm import node_memory
from workers.slurm.job_events import JobEvents
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import FAILED, JobState
from workers.slurm.requeued import WAIT_SECONDS, FailedBoot, Requeued, ended_jobs, follow
from workers.slurm.scontrol import Slurm
from workers.slurm.updates import SlurmUpdate, UpdateKind
from workers.store.database import reading

# Seconds between two looks after which slurmctld counts as having been away.
_AWAY = 5.0


class FailedJobs:
    """Follows jobs until each has been requeued or has ended; true while it follows any.

    `link` acknowledges the deliveries that belong to the jobs; `job_events` reports those that have
    ended.
    """

    def __init__(self, slurm: Slurm, link: Link, job_events: JobEvents) -> None:
        self._slurm = slurm
        self._link = link
        self._job_events = job_events
        self._requeued: list[Requeued] = []
        self._looked_at = 0.0
        self._log = structlog.get_logger()

    def __bool__(self) -> bool:
        return bool(self._requeued)

    def add(self, updates: Sequence[SlurmUpdate], deliveries: Sequence[Delivery] = ()) -> None:
        """Follow the jobs of these updates, and acknowledge the deliveries when they are done."""
        if updates:
            jobs = frozenset().union(*(update.jobs for update in updates))
            nodes = frozenset(update.node for update in updates)
            now = time.monotonic()
            self._looked_at = self._looked_at if self._requeued else now
            until = now + WAIT_SECONDS
            self._requeued.append(Requeued(jobs, nodes, until, tuple(deliveries), tuple(updates)))

    def check(self) -> None:
        """Check all jobs once.

        Raises:
            SlurmAwayError: slurmctld does not answer.
            BrokerError: the broker did not accept the events of ended jobs.
        """
        jobs = self._slurm.jobs(frozenset().union(*(r.jobs for r in self._requeued)))
        now = time.monotonic()
        away, self._looked_at = now - self._looked_at, now
        if away > _AWAY:  # while slurmctld was, no job could go on
            self._requeued = [replace(one, until=one.until + away) for one in self._requeued]
        ended = {
            job_id: end
            for requeued in self._requeued
            for job_id, end in ended_jobs(requeued, jobs).items()
        }
        self._job_events.report_ended(ended)
        followed = [follow(requeued, jobs) for requeued in self._requeued]
        startable = frozenset().union(*(job_ids for job_ids, _ in followed))
        if startable:
            # Slurm has requeued all parts of a heterogeneous job: an update of the first is one of all
            self._slurm.start_now({jobs[job_id].leader or job_id for job_id in startable})
            self._log.info("requeued_jobs_started", jobs=sorted(startable))
        remaining = [requeued for _, requeued in followed]
        done = [requeued for requeued in remaining if not requeued.jobs or now >= requeued.until]
        self._requeued = [requeued for requeued in remaining if requeued not in done]
        self._link.ack([delivery for requeued in done for delivery in requeued.deliveries])


def unreported(store: sa.Engine, slurm: Slurm, settings: Settings) -> list[SlurmUpdate]:
    """Updates with jobs that have ended, perhaps without a report: the worker may have crashed.

    No delivery comes again for nodes that were given back. A second report of a job has no effect.

    Raises:
        SlurmAwayError, sqlalchemy.exc.DBAPIError: slurmctld or the store does not answer.
    """
    with reading(store) as connection:
        known = node_memory.recall_all(connection, settings.cluster).values()
    jobs = slurm.jobs({job_id for memory in known for job_id in memory.jobs})
    ended = {job_id: job for job_id, job in jobs.items() if job.state in FAILED}
    return [
        SlurmUpdate(
            UpdateKind.DONE, memory.node, "reported before a restart", memory.reason, jobs=lost
        )
        for memory in known
        if (lost := _lost_jobs(memory, ended, settings.slurm))
    ]


def _lost_jobs(
    memory: NodeMemory, ended: Mapping[int, JobState], settings: SlurmSettings
) -> frozenset[int]:
    """The ended jobs that waited for the last failed boot; a requeued one may have run since."""
    failed_at = memory.failed_at
    if not failed_at:  # its cloud did not answer, and it was or is to be given back
        given_back_at = memory.due_at - int(settings.return_at_most * 10**9)
        failed_at = given_back_at if memory.due is Due.FORGET else time.time_ns()
    boot = FailedBoot(memory.generation, failed_at)
    return frozenset(job for job in memory.jobs if job in ended and boot.lost(ended[job]))
