"""Decides whether a job that waits in its PrologSlurmctld may go on. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from workers.slurm.nodes import NodeState, job_states_from

# Seconds that a job may wait longer than Slurm's ResumeTimeout.
GRACE = 10
_ALLOCATED = frozenset({"ALLOCATED", "MIXED"})
# Flags of a node whose job will not start there: scontrol(1), "NODE STATE CODES".
_OUT_OF_SERVICE = frozenset({"DRAIN", "FAIL", "POWER_DOWN", "POWERING_DOWN"})
# What scontrol prints instead of a job that slurmctld no longer knows.
_FORGOTTEN = "Invalid job id specified"
# Not NOT_RESPONDING alone: slurmctld starts jobs on a node that was up and missed a ping (measured on 22.05).
_NOT_READY = frozenset({"POWERED_DOWN", "POWERING_UP", "POWER_UP"})


class Release(StrEnum):
    """Why a job goes on."""

    READY = "ready"  # all its nodes have registered
    NODE_FAILED = "node_failed"  # one of its nodes does not become ready
    LEFT = "left"  # the job was cancelled or requeued, or does not have the nodes
    CEILING = "ceiling"  # it has waited longer than Slurm waits for a node
    AWAY = "slurm_away"  # slurmctld does not answer
    FULL = "full"  # all slots are taken


@dataclass(frozen=True, slots=True)
class PrologJob:
    """A job that waits: its nodes, and the monotonic time in seconds at which it stops waiting."""

    job_id: int
    nodes: tuple[str, ...]
    until: float


def release(job: PrologJob, nodes: Mapping[str, NodeState], now: float) -> Release | None:
    """Why the job goes on, by what Slurm shows of the nodes (monotonic seconds); None if it waits."""
    found = [nodes.get(name) for name in job.nodes]
    if any(node is None or node.down or node.flags & _OUT_OF_SERVICE for node in found):
        return Release.NODE_FAILED
    if any(node is not None and node.base not in _ALLOCATED for node in found):
        return Release.LEFT
    if not any(node is not None and node.flags & _NOT_READY for node in found):
        return Release.READY
    return Release.CEILING if now >= job.until else None


def has_left(job_id: int, shown: str) -> bool:
    """Whether a job no longer waits for its nodes, by what scontrol shows of it and other jobs."""
    state = job_states_from(shown).get(job_id)
    if state is None:
        return _FORGOTTEN in shown
    return state not in {"CONFIGURING", ""}
