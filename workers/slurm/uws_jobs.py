"""Finds how the jobs of a UWS service (OPUS) wait and end, from all jobs that squeue shows. Pure.

The service must learn the end of each of its jobs: also of jobs that never ran, and on nodes that are not
ours. `runs` covers neither.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.fields import is_node_name
from schemas.jobs import JobEvent, JobTransition
from workers.slurm.causes import cause_in
from workers.slurm.job_origins import uws_id
from workers.slurm.node_memory import NodeMemory
from workers.slurm.nodes import FAILED, JobState, NodeState
from workers.slurm.runs import ENDED_STATES, GONE

# Of a federation's job that another cluster runs. The cluster that took it in shows it until its end.
REVOKED = "REVOKED"
_NS = 1_000_000_000
_CAUSE_FIRST = 10 * _NS
# Why a job waits for nodes that are down (squeue of 22.05 and 24.11; node_scheduler.c, job_scheduler.c).
_NOT_AVAILABLE = re.compile(r"UnavailableNodes:(\S+)")
_ALL_DOWN = "Nodes required for job are DOWN"


@dataclass(frozen=True, slots=True)
class ShownJob:
    """A job as squeue shows it; times are ns since the epoch.

    Attributes:
        uws_id: the UWS job of its batch script, or None.
        nodes: a hostlist.
        reason: why it waits.
    """

    job_id: int
    submitted_at: int
    uws_id: str | None
    state: str
    ended_at: int | None = None
    nodes: str = ""
    partitions: frozenset[str] = frozenset()
    reason: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """Identifies the job: Slurm may use its ID again."""
        return self.job_id, self.submitted_at


@dataclass(frozen=True, slots=True)
class ReportedUwsJobs:
    """What has been reported.

    Attributes:
        open: the jobs whose end is not reported yet.
        finished: the jobs that have ended, and that Slurm still shows.
        waiting: jobs, each with the return of the nodes that it was reported to wait for.
    """

    open: tuple[ShownJob, ...] = ()
    finished: frozenset[tuple[int, int]] = frozenset()
    waiting: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class UwsObservation:
    """The state of Slurm at one moment: `at`, ns since the epoch.

    Attributes:
        shown: all jobs that Slurm shows.
        nodes: all nodes in Slurm.
        returning: the nodes that are out of service until their cool-down is over.
    """

    shown: Sequence[ShownJob]
    nodes: Mapping[str, NodeState]
    returning: Mapping[str, NodeMemory]
    at: int


def shown_jobs(jobs: Iterable[JobState], jobdata: str) -> list[ShownJob]:
    """These jobs, each with the UWS job below `jobdata` that it runs for; without a submission, none."""
    return [
        ShownJob(
            job.job_id,
            job.submitted_at,
            uws_id(job.script, jobdata),
            job.state,
            job.ended_at,
            job.nodes,
            frozenset(job.partitions.split(",")),
            job.reason,
        )
        for job in jobs
        if job.submitted_at is not None
    ]


def uws_changes(
    cluster: str, seen: UwsObservation, before: ReportedUwsJobs
) -> tuple[list[JobEvent], ReportedUwsJobs]:
    """The events to report about UWS jobs, and what has been reported then.

    `before` is the result of the previous call.
    """
    ours = [job for job in seen.shown if job.uws_id is not None]
    ended = [job for job in ours if _has_ended(job, seen.at)]
    still = [job for job in ours if not _has_ended(job, seen.at)]
    known = {job.key for job in before.open} | before.finished
    events = [
        _event(JobTransition.IDENTIFIED, cluster, job, seen.at)
        for job in ours
        if job.key not in known
    ]
    waiting = {
        (event.job_id, event.returns_at or 0): event
        for job in still
        for event in _waiting(cluster, job, seen)
    }
    events += [event for key, event in waiting.items() if key not in before.waiting]
    # a requeue changes the time of submission, but neither the ID nor the script
    present = {(job.job_id, job.uws_id) for job in seen.shown}
    gone = [job for job in before.open if (job.job_id, job.uws_id) not in present]
    events += [
        _event(JobTransition.FINISHED, cluster, job, job.ended_at or seen.at, job.state)
        for job in ended
        if job.key not in before.finished
    ]
    events += [_event(JobTransition.FINISHED, cluster, job, seen.at, GONE) for job in gone]
    return events, ReportedUwsJobs(
        tuple(still), frozenset(job.key for job in ended), frozenset(waiting)
    )


def _has_ended(job: ShownJob, now: int) -> bool:
    """Whether its end is to be reported: the slurm worker first reports the cause of a failed boot."""
    early = job.state in FAILED and job.ended_at is not None and now < job.ended_at + _CAUSE_FIRST
    revoked = job.state == REVOKED and job.ended_at is not None and job.ended_at <= now
    return revoked or (job.state in ENDED_STATES and not early)


def _event(
    transition: JobTransition, cluster: str, job: ShownJob, time: int, state: str | None = None
) -> JobEvent:
    return JobEvent(
        transition,
        cluster,
        job.job_id,
        job.submitted_at,
        time,
        uws_id=job.uws_id,
        state=state,
        nodes=_names(job.nodes) if state else (),
    )


def _waiting(cluster: str, job: ShownJob, seen: UwsObservation) -> Iterator[JobEvent]:
    """The event of a job that waits for nodes in cool-down, if it does."""
    if job.state != "PENDING":
        return
    named = _NOT_AVAILABLE.search(job.reason)
    wanted: Sequence[str] = _names(named[1]) if named else ()
    if job.reason.startswith(_ALL_DOWN):
        wanted = [
            name
            for name, node in seen.nodes.items()
            if not job.partitions.isdisjoint(node.partitions.split(","))
        ]
    waits_for = sorted(seen.returning.keys() & set(wanted))
    if not waits_for:
        return
    first = min((seen.returning[name] for name in waits_for), key=lambda memory: memory.due_at)
    yield JobEvent(
        JobTransition.WAITING,
        cluster,
        job.job_id,
        job.submitted_at,
        seen.at,
        uws_id=job.uws_id,
        nodes=tuple(waits_for),
        cause=cause_in(first.reason, "a boot failed"),
        returns_at=first.due_at // _NS * _NS,
    )


def _names(hosts: str) -> tuple[str, ...]:
    try:
        return tuple(filter(is_node_name, expand(hosts))) if hosts else ()
    except MalformedMessageError:
        return ()
