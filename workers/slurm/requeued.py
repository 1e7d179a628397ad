"""Jobs whose boot has failed: Slurm holds a requeued job for `cred_expire` (121 s), which we lift. Pure.

A job that was allocated to a node had begun in Slurm's eyes, so that a begin time of its own has
passed: what holds it now is the requeue alone. A job held by a person has no priority, and stays
held. One of several nodes first leaves the others (COMPLETING), which takes a while.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import hostlist

from workers.slurm.decide import SlurmUpdate
from workers.slurm.nodes import FAILED, JobState

# Where Slurm holds it longer, the hold has nothing to do with us.
PATIENCE = 130.0
# On its way out of its other nodes; the one that has failed is no longer among them.
_LEAVING = frozenset({"COMPLETING", "REQUEUED"})
_RUNS = frozenset({"CONFIGURING", "RUNNING", "SUSPENDED"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Requeued(Generic[T]):
    """Jobs that are about to be requeued for nodes whose boots have failed.

    Attributes:
        jobs, nodes: which.
        until: monotonic seconds; then they are no longer waited for.
        deliveries: what may be acknowledged when all have been dealt with.
        actions: what Slurm was told of the nodes, each with its jobs.
    """

    jobs: frozenset[int]
    nodes: frozenset[str]
    until: float
    deliveries: tuple[T, ...] = ()
    actions: tuple[SlurmUpdate, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended for good: Slurm's word for it, and what was told of its nodes."""

    state: str
    actions: tuple[SlurmUpdate, ...]


def failed(waiting: Requeued[T], jobs: Mapping[int, JobState]) -> dict[int, Ended]:
    """The jobs that their nodes' failure has ended: they may not be requeued."""
    return {
        job_id: Ended(state, tuple(a for a in waiting.actions if job_id in a.jobs))
        for job_id in waiting.jobs
        if (state := _state(jobs, job_id)) in FAILED
    }


def look(waiting: Requeued[T], jobs: Mapping[int, JobState]) -> tuple[frozenset[int], Requeued[T]]:
    """The jobs to let begin now, and what is still waited for."""
    lift = {job_id for job_id in waiting.jobs if _state(jobs, job_id) == "PENDING"}
    still = {
        job_id
        for job_id in waiting.jobs
        if (state := _state(jobs, job_id)) in _LEAVING
        or (state in _RUNS and _is_on(jobs[job_id], waiting.nodes))
    }
    return frozenset(lift), replace(waiting, jobs=frozenset(still))


def _state(jobs: Mapping[int, JobState], job_id: int) -> str:
    job = jobs.get(job_id)
    return job.state if job else ""


def _is_on(job: JobState, nodes: Iterable[str]) -> bool:
    """Whether it still has one of these nodes; a job that runs elsewhere has been helped."""
    try:
        return not set(nodes).isdisjoint(hostlist.expand_hostlist(job.nodes))
    except hostlist.BadHostlist:
        return True


def on_node(node: str, jobs: Mapping[int, JobState]) -> frozenset[int]:
    """The ids of those jobs that have this node."""
    return frozenset(job_id for job_id, job in jobs.items() if _is_on(job, (node,)))
