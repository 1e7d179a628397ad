"""Finds registrations, and the start and end of job runs, between two observations of Slurm. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition
from schemas.registrations import Registration
from workers.slurm.nodes import NodeState, moment

# The --format of squeue that `runs_from` parses: ID, state, submit, start and end time, nodes, user.
RUN_FORMAT = "%A|%T|%V|%S|%e|%N|%u"
# The states of ended jobs, which Slurm shows for MinJobAge: squeue(1), "JOB STATE CODES".
ENDED_STATES = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"),
    *("PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"),
)
# When its nodes have booted, Slurm sets a job's start again (job_config_fini); until then it does not run.
_BOOTING = "CONFIGURING"
# The end states of a job that did run, even if no observation saw it run.
_RAN = frozenset({"COMPLETED", "TIMEOUT", "OUT_OF_MEMORY"})
# The state of a run that Slurm no longer shows: a requeue ended it, or the last observation is too old.
_GONE = "GONE"
_FIELDS = 7


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job; times are ns since the epoch, None if Slurm shows none.

    Attributes:
        state: in Slurm.
        nodes: a hostlist, as Slurm prints it.
        seen_at: when Slurm last showed it running; set once its start is reported.
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
        """Identifies the run: job and start."""
        return self.job_id, self.started_at


@dataclass(frozen=True, slots=True)
class Reported:
    """What has been reported, and what is needed to report only what happened.

    Attributes:
        registered: when each node's slurmd started, ns since the epoch.
        running: the runs whose end is not reported yet.
        booting: runs whose nodes boot; if they end now, they never ran.
        ended: the runs that have ended, and that Slurm still shows.
    """

    registered: Mapping[str, int]
    running: tuple[Run, ...] = ()
    booting: frozenset[tuple[int, int]] = frozenset()
    ended: frozenset[tuple[int, int]] = frozenset()


NOTHING = Reported({})


@dataclass(frozen=True, slots=True)
class SlurmObservation:
    """The state of Slurm at one moment: `at`, ns since the epoch."""

    nodes: Mapping[str, NodeState]
    runs: Sequence[Run]
    at: int


def runs_from(output: str) -> list[Run]:
    """The runs that squeue printed in RUN_FORMAT, times in seconds; lines without a start are omitted."""
    found = []
    for line in output.splitlines():
        fields = line.split("|", _FIELDS - 1)
        if len(fields) < _FIELDS:
            continue
        job, state, submitted, started, ended, nodes, user = fields
        moments = [moment(field) for field in (submitted, started, ended)]
        if job.isascii() and job.isdigit() and moments[0] is not None and moments[1] is not None:
            found.append(Run(int(job), state, moments[0], moments[1], moments[2], nodes, user))
    return found


def changes(
    cluster: str, seen: SlurmObservation, ours: Collection[str], before: Reported
) -> tuple[list[Registration | JobEvent], Reported]:
    """The events to report about Slurm's nodes and runs, and what has been reported then.

    Args:
        cluster: the cluster's name.
        seen: the state of Slurm now.
        ours: the nodes of interest; runs on other nodes are ignored.
        before: the result of the previous call.
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
    jobs, after = _run_changes(cluster, seen, ours, before)
    return [*registrations, *jobs], replace(after, registered=registered)


def _run_changes(
    cluster: str, seen: SlurmObservation, ours: Collection[str], before: Reported
) -> tuple[list[JobEvent], Reported]:
    running = {run.key for run in before.running}
    shown = {run.key for run in seen.runs}
    booting = before.booting & shown | {r.key for r in seen.runs if r.state == _BOOTING}
    ended = before.ended & shown
    events: list[JobEvent] = []
    still: list[Run] = []
    for run in seen.runs:
        nodes = _our_nodes(run, ours)
        has_ended = run.state in ENDED_STATES
        never_ran = run.key in booting - running and has_ended and run.state not in _RAN
        if not nodes or run.state == _BOOTING or run.key in ended or never_ran:
            continue
        if run.key not in running:
            events.append(_event(JobTransition.STARTED, cluster, run, nodes, run.started_at))
        if has_ended and run.ended_at is not None:
            events.append(_event(JobTransition.ENDED, cluster, run, nodes, run.ended_at))
            ended |= {run.key}
        else:
            still.append(replace(run, seen_at=seen.at))
    gone = [replace(run, state=_GONE) for run in before.running if run.key not in shown]
    events += [
        _event(JobTransition.ENDED, cluster, r, _our_nodes(r, ours), r.seen_at) for r in gone
    ]
    return events, Reported({}, tuple(still), booting, ended)


def _our_nodes(run: Run, ours: Collection[str]) -> tuple[str, ...]:
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
