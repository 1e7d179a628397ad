"""Follows jobs whose boot failed: Slurm delays a requeued job by `cred_expire` (121 s), we do not. Pure.

A job that was allocated to a node has started from Slurm's point of view, so that its own begin time
is past: only the requeue delays it. A job that an operator holds has no priority, and stays held. A
job of several nodes first leaves the others (COMPLETING), which takes a while.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from producers.hosts import expand
from schemas.errors import MalformedMessageError
from workers.broker.delivery import Delivery
from workers.slurm.nodes import FAILED, JobState
from workers.slurm.updates import SlurmUpdate

# If Slurm delays a job for longer, the delay has nothing to do with us.
WAIT_SECONDS = 130.0
# The states of a job that leaves its other nodes; the failed node no longer belongs to it.
_LEAVING = frozenset({"COMPLETING", "REQUEUED"})
_NS = 1_000_000_000
_ACTIVE = frozenset({"CONFIGURING", "RUNNING", "SUSPENDED"})


@dataclass(frozen=True, slots=True)
class Requeued:
    """Jobs that Slurm requeues because nodes of theirs did not boot.

    Attributes:
        jobs, nodes: which.
        until: monotonic seconds; the jobs are not followed for longer.
        deliveries: to acknowledge when all jobs are done.
        updates: what was reported to Slurm for the nodes, each with its jobs.
    """

    jobs: frozenset[int]
    nodes: frozenset[str]
    until: float
    deliveries: tuple[Delivery, ...] = ()
    updates: tuple[SlurmUpdate, ...] = ()


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that has ended for good, and the updates of its nodes."""

    job: JobState
    updates: tuple[SlurmUpdate, ...]


def ended_jobs(requeued: Requeued, jobs: Mapping[int, JobState]) -> dict[int, EndedJob]:
    """The jobs that ended with their nodes' failed boot: they must not be requeued."""
    return {
        job_id: EndedJob(jobs[job_id], updates)
        for job_id in requeued.jobs
        if _state(jobs, job_id) in FAILED
        and (updates := tuple(u for u in requeued.updates if job_id in u.jobs and not u.ran))
    }


def follow(requeued: Requeued, jobs: Mapping[int, JobState]) -> tuple[frozenset[int], Requeued]:
    """The jobs that may start now, and those that are to be followed further."""
    startable = {job_id for job_id in requeued.jobs if _state(jobs, job_id) == "PENDING"}
    remaining = {
        job_id
        for job_id in requeued.jobs
        if (state := _state(jobs, job_id)) in _LEAVING
        or (state in _ACTIVE and _has_node(jobs[job_id], requeued.nodes))
    }
    return frozenset(startable), replace(requeued, jobs=frozenset(remaining))


def _state(jobs: Mapping[int, JobState], job_id: int) -> str:
    job = jobs.get(job_id)
    return job.state if job else ""


def _has_node(job: JobState, nodes: Iterable[str]) -> bool:
    """Whether a job still has one of these nodes; if it runs elsewhere, nothing is left to do."""
    try:
        return not set(nodes).isdisjoint(expand(job.nodes)) if job.nodes else False
    except MalformedMessageError:
        return True


@dataclass(frozen=True, slots=True)
class FailedBoot:
    """A boot that failed: when it was requested, and when it had failed; ns since the epoch."""

    requested_at: int
    failed_at: int

    def lost(self, job: JobState) -> bool:
        """Whether a job that had the node waited for this boot, as far as Slurm's times tell.

        No job runs on a node that boots: one that ran there has ended before, or got its node later.
        """
        if job.started_at is None or job.ended_at is None:
            return False
        # Slurm's times are whole seconds; if the hooks' clock was set back, the request has a later time
        since = self.requested_at - _NS if self.requested_at <= self.failed_at else 0
        return job.started_at <= self.failed_at and job.ended_at > since


def jobs_on(node: str, jobs: Mapping[int, JobState], boot: FailedBoot) -> frozenset[int]:
    """The IDs of the jobs that have this node, and waited for this boot of it."""
    return frozenset(
        job_id for job_id, job in jobs.items() if boot.lost(job) and _has_node(job, (node,))
    )
