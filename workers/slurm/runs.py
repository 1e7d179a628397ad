"""Finds registrations, and the start and end of job runs, between two observations of Slurm. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition
from schemas.registrations import Registration
from workers.slurm.job_origins import uws_id
from workers.slurm.nodes import JobState, NodeState

# The states of ended jobs, which Slurm shows for MinJobAge: squeue(1), "JOB STATE CODES".
ENDED_STATES = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"),
    *("PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"),
)
# Only a job that runs has these states, and only a job that ran ends in the others.
_RUNS = frozenset({"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING"})
_RAN = frozenset({"COMPLETED", "TIMEOUT", "OUT_OF_MEMORY"})
# The exit codes of a job that slurmctld ended, as 22.05 and 24.11 set them: any other is slurmd's report
# of the end of its script.
_ENDED_BY_SLURMCTLD = frozenset({0, 1})
# For which a job may wait for slurmctld's timer when its nodes are ready, ns: it runs every 30 s; Slurm's
# times are whole seconds, and its turn takes a moment.
MOST_TIMER = 33_000_000_000
# The state of a run that Slurm no longer shows: a requeue ended it, or the last observation is too old;
# and of a job that Slurm no longer shows, although no end of it was seen.
GONE = "GONE"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a job whose start is reported; times are ns since the epoch.

    Attributes:
        nodes: those of interest.
        seen_at: when Slurm last showed it running.
    """

    job_id: int
    submitted_at: int
    started_at: int
    nodes: tuple[str, ...]
    user: str
    uws_id: str | None = None
    seen_at: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Identifies the run: job and start."""
        return self.job_id, self.started_at


@dataclass(frozen=True, slots=True)
class Reported:
    """What has been reported, and what is needed to report only what happened.

    Attributes:
        registered: when each node's slurmd started, ns since the epoch.
        running: the runs whose end is not reported yet.
        ended: the runs that have ended, and that Slurm still shows.
    """

    registered: Mapping[str, int]
    running: tuple[Run, ...] = ()
    ended: frozenset[tuple[int, int]] = frozenset()


NOTHING = Reported({})


@dataclass(frozen=True, slots=True)
class SlurmObservation:
    """The state of Slurm at one moment: `at`, ns since the epoch; jobs that have, or had, nodes."""

    nodes: Mapping[str, NodeState]
    jobs: Sequence[JobState]
    at: int


def has_run(job: JobState) -> bool:
    """Whether Slurm says that a job runs or ran; a job that waits for its nodes ends without it.

    Slurm does not say it of each job that has ended: one that was cancelled, or has lost a node, may
    have run for less than an observation's interval. It is not reported then.
    """
    if job.state in _RUNS or job.state in _RAN:
        return True
    return job.state in ENDED_STATES and job.exit_code not in _ENDED_BY_SLURMCTLD


def changes(
    cluster: str,
    seen: SlurmObservation,
    ours: Collection[str],
    before: Reported,
    jobdata: str | None = None,
) -> tuple[list[Registration | JobEvent], Reported]:
    """The events to report about Slurm's nodes and runs, and what has been reported then.

    `ours` are the nodes of interest: runs on other nodes are ignored. `before` is the result of the
    previous call. `jobdata` is SLURM_JOBDATA_PATH of OPUS, or None if OPUS does not submit jobs.
    """
    registered = {
        name: node.registered_at
        for name, node in seen.nodes.items()
        if name in ours and node.registered_at is not None
    }
    registrations = [
        Registration(cluster, name, since)
        for name, since in sorted(registered.items())
        if before.registered.get(name) != since
    ]
    jobs, after = _run_changes(cluster, seen, ours, before, jobdata)
    return [*registrations, *jobs], replace(after, registered=registered)


def _run_changes(
    cluster: str,
    seen: SlurmObservation,
    ours: Collection[str],
    before: Reported,
    jobdata: str | None,
) -> tuple[list[JobEvent], Reported]:
    known = {run.key: run for run in before.running}
    # a node that has left the configuration keeps the run that goes on there
    ours = {*ours, *(node for run in before.running for node in run.nodes)}
    events: list[JobEvent] = []
    still: list[Run] = []
    ended: set[tuple[int, int]] = set()
    shown = set()
    for job in seen.jobs:
        run = _run(job, ours, jobdata)
        if run is None:
            continue
        shown.add(run.key)
        if run.key in before.ended:
            ended.add(run.key)
            continue
        if run.key not in known:
            if not has_run(job):
                continue
            events.append(_event(JobTransition.STARTED, cluster, run, run.started_at))
        if job.state in ENDED_STATES and job.ended_at is not None:
            events.append(_event(JobTransition.ENDED, cluster, run, job.ended_at, job.state))
            ended.add(run.key)
        else:
            still.append(replace(run, seen_at=seen.at))
    events += [
        _event(JobTransition.ENDED, cluster, run, run.seen_at, GONE)
        for key, run in known.items()
        if key not in shown
    ]
    return events, Reported({}, tuple(still), frozenset(ended))


def _run(job: JobState, ours: Collection[str], jobdata: str | None) -> Run | None:
    """The run of a job on our nodes, or None."""
    try:
        nodes = tuple(name for name in expand(job.nodes) if name in ours) if job.nodes else ()
    except MalformedMessageError:
        return None
    if not nodes or job.submitted_at is None or job.started_at is None:
        return None
    user = job.user.strip() or "unknown"
    uws = uws_id(job.script, jobdata)
    return Run(job.job_id, job.submitted_at, job.started_at, nodes, user, uws)


def _event(
    transition: JobTransition, cluster: str, run: Run, time: int, state: str | None = None
) -> JobEvent:
    return JobEvent(
        transition=transition,
        cluster=cluster,
        job_id=run.job_id,
        submitted_at=run.submitted_at,
        time=time,
        uws_id=run.uws_id,
        state=state,
        nodes=run.nodes,
        started_at=run.started_at,
        user=run.user,
    )
