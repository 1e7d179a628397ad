"""What has begun and ended in Slurm between two looks: registrations and jobs' runs. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition
from schemas.registrations import Registration
from workers.slurm.nodes import NodeState, moment

# squeue's --format that `runs_from` reads: id, state, submit, start and end time, nodes, user
RUN_FORMAT = "%A|%T|%V|%S|%e|%N|%u"
# squeue(1), "JOB STATE CODES", of jobs that have ended; Slurm shows them for MinJobAge more
OVER = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"),
    *("PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"),
)
# Slurm sets a job's start anew once its nodes have booted (job_config_fini); until then it does not run.
_BOOTING = "CONFIGURING"
# Ends of a job that did run, whatever was seen of it.
_RAN = frozenset({"COMPLETED", "TIMEOUT", "OUT_OF_MEMORY"})
# What became of a run that Slurm no longer shows: a requeue has ended it, or nobody looked for too long.
_GONE = "GONE"
_FIELDS = 7


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job; times are ns since the epoch, None where Slurm says none.

    Attributes:
        state: Slurm's word.
        nodes: a hostlist, as Slurm prints it.
        seen_at: when Slurm last showed it running, for one that was told of.
    """

    job_id: int
    state: str
    submitted_at: int
    started_at: int
    ended_at: int | None
    nodes: str
    user: str
    seen_at: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Which run of which job."""
        return self.job_id, self.started_at


@dataclass(frozen=True, slots=True)
class Told:
    """What has been told of, and what must be known to tell no more than is so.

    Attributes:
        registered: by node, when its slurmd started, ns since the epoch.
        running: the runs whose end is not told yet.
        booting: runs that never ran if they end so.
        over: those that have ended and are still shown.
    """

    registered: Mapping[str, int]
    running: tuple[Run, ...] = ()
    booting: frozenset[tuple[int, int]] = frozenset()
    over: frozenset[tuple[int, int]] = frozenset()


NOTHING = Told({})


@dataclass(frozen=True, slots=True)
class SlurmObservation:
    """Slurm at one moment: `at`, ns since the epoch."""

    nodes: Mapping[str, NodeState]
    runs: Sequence[Run]
    at: int


def runs_from(shown: str) -> list[Run]:
    """The runs that squeue has printed in RUN_FORMAT, times as seconds; without a start it is none."""
    found = []
    for line in shown.splitlines():
        fields = line.split("|", _FIELDS - 1)
        if len(fields) < _FIELDS:
            continue
        job, state, submitted, started, ended, nodes, user = fields
        moments = [moment(field) for field in (submitted, started, ended)]
        if job.isascii() and job.isdigit() and moments[0] is not None and moments[1] is not None:
            found.append(Run(int(job), state, moments[0], moments[1], moments[2], nodes, user))
    return found


def news(
    cluster: str, seen: SlurmObservation, ours: Collection[str], before: Told
) -> tuple[list[Registration | JobEvent], Told]:
    """What is to be told of Slurm's nodes and runs, and what has been told then.

    Args:
        cluster: whose.
        seen: Slurm now.
        ours: the nodes that are told of; a run on none of them is not.
        before: as the look before has left it.
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
    jobs, after = _of_runs(cluster, seen, ours, before)
    return [*registrations, *jobs], replace(after, registered=registered)


def _of_runs(
    cluster: str, seen: SlurmObservation, ours: Collection[str], before: Told
) -> tuple[list[JobEvent], Told]:
    running = {run.key for run in before.running}
    shown = {run.key for run in seen.runs}
    booting = before.booting & shown | {r.key for r in seen.runs if r.state == _BOOTING}
    over = before.over & shown
    told: list[JobEvent] = []
    still: list[Run] = []
    for run in seen.runs:
        nodes = _of_ours(run, ours)
        never_ran = run.key in booting - running and run.state in OVER and run.state not in _RAN
        if not nodes or run.state == _BOOTING or run.key in over or never_ran:
            continue
        if run.key not in running:
            told.append(_event(JobTransition.STARTED, cluster, run, nodes, run.started_at))
        if run.state in OVER and run.ended_at is not None:
            told.append(_event(JobTransition.ENDED, cluster, run, nodes, run.ended_at))
            over |= {run.key}
        else:
            still.append(replace(run, seen_at=seen.at))
    gone = [replace(run, state=_GONE) for run in before.running if run.key not in shown]
    told += [_event(JobTransition.ENDED, cluster, r, _of_ours(r, ours), r.seen_at) for r in gone]
    return told, Told({}, tuple(still), booting, over)


def _of_ours(run: Run, ours: Collection[str]) -> tuple[str, ...]:
    try:
        return tuple(name for name in expand(run.nodes) if name in ours) if run.nodes else ()
    except MalformedMessageError:
        return ()


def _event(
    transition: JobTransition, cluster: str, run: Run, nodes: tuple[str, ...], time: int
) -> JobEvent:
    return JobEvent(
        transition=transition,
        cluster=cluster,
        job_id=run.job_id,
        submitted_at=run.submitted_at,
        time=time,
        state=run.state if transition is JobTransition.ENDED else None,
        nodes=nodes,
        started_at=run.started_at,
        user=run.user.strip() or "unknown",
    )
