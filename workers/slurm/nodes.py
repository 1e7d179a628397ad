"""Reads nodes and jobs from `scontrol --oneliner show node` and squeue. Pure; any text has a result.

22.05 has no `scontrol --json`, and the JSON of 24.11 differs from that of 22.05's sinfo; the one-line
form is the same in all versions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.numbers import whole_number

# Slurm's states of a job that ended because one of its nodes failed or did not boot.
FAILED = frozenset({"NODE_FAIL", "BOOT_FAIL"})
LEFT_BY_NODE = FAILED | {"COMPLETING"}
# The reason of a node whose reason cannot be read whole: neither Slurm nor Lamplighter sets such a one.
UNREADABLE = "set by a person; scontrol show node prints it"
_NS = 1_000_000_000
# What a node can be beside its state: jobs are planned for it, or it is in a reservation.
_BESIDE = frozenset({"CLOUD", "DYNAMIC_NORM", "PLANNED", "RESERVED"})
_POWER = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_UP"})
# Slurm writes free texts last, in this order (slurm_sprint_node_table in src/api/node_info.c, from
# 22.05 to 26.11): what follows the first of them may imitate any field.
_FREE_TEXTS = (" Reason=", " Comment=", " Extra=")
# After the first line of a reason comes who set it when; each further line follows 8 spaces.
_SETTER = re.compile(r" \[[^\[\]@ ]+@[^\[\]@ ]+\]")
_JOB_LINE = re.compile(r"JobId=([1-9][0-9]{0,9}) ")
_NEXT_FIELD = re.compile(r" ?(?:[A-Za-z]+=.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NodeState:
    """The state of a node in Slurm.

    Attributes:
        base: the base state (`IDLE`, `MIXED`, `DOWN`, ...).
        flags: the further states (`CLOUD`, `POWERING_UP`, ...).
        reason: why it is out of service, without the user who set it; empty if there is no reason.
        address: NodeAddr.
        hostname: NodeHostName.
        registered_at: when the last registered slurmd started, ns since the epoch, or None.
        partitions: their names, separated by commas.
    """

    node: str
    base: str
    flags: frozenset[str] = frozenset()
    reason: str = ""
    address: str = ""
    hostname: str = ""
    registered_at: int | None = None
    partitions: str = ""

    @property
    def state(self) -> str:
        """All states, as a snapshot has them: `IDLE+CLOUD+POWERED_DOWN`."""
        return "+".join((self.base or "UNKNOWN", *sorted(self.flags)))

    @property
    def down(self) -> bool:
        """Whether no job may use the node until an explicit update."""
        return self.base == "DOWN"

    @property
    def drained(self) -> bool:
        """Whether the node has no job, and gets none until an explicit update."""
        return self.base == "IDLE" and bool(self.flags & {"DRAIN", "FAIL"})

    @property
    def booting(self) -> bool:
        """Whether Slurm waits for the node to register after a resume."""
        return "POWERING_UP" in self.flags

    @property
    def lost(self) -> bool:
        """Whether Slurm has set the node down, and ended its jobs, because it no longer responds."""
        return self.down and "NOT_RESPONDING" in self.flags and not self.changes_power

    @property
    def changes_power(self) -> bool:
        """Whether Slurm has powered the node down, or is changing its power."""
        return bool(self.flags & _POWER)

    @property
    def unavailable(self) -> bool:
        """Whether slurmctld may give no job the node, although it is powered down and in service.

        ResumeTimeout and State=RESUME leave NOT_RESPONDING on it, until its next boot.
        """
        return self.base == "IDLE" and self.flags - _BESIDE == {"POWERED_DOWN", "NOT_RESPONDING"}

    @property
    def powered_down(self) -> bool:
        """Whether the node is powered down for Slurm, after a suspend or Slurm's ResumeTimeout."""
        return "POWERED_DOWN" in self.flags


@dataclass(frozen=True, slots=True)
class JobState:
    """One job as squeue shows it; times are ns since the epoch in whole seconds, None if there is none.

    Attributes:
        job_id: its own number, also if it belongs to an array or a heterogeneous job.
        state: `PENDING`, `RUNNING`, ...
        nodes: a hostlist.
        submitted_at: a requeue sets it again.
        started_at: when it got its nodes; set again when nodes that had to boot are ready.
        ended_at: of a job that has ended; an estimate before.
        exit_code: as wait(2) returns it.
        script: the path of its batch script as submitted, with arguments; untrusted.
        partitions: their names, separated by commas.
        reason: why it waits.
        leader: the number of a heterogeneous job's first part; an update of it is one of all parts.
    """

    job_id: int
    state: str
    nodes: str
    submitted_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    user: str = ""
    exit_code: int = 0
    script: str = ""
    partitions: str = ""
    reason: str = ""
    leader: int | None = None


def nodes_from(output: str) -> Mapping[str, NodeState]:
    """The nodes that `scontrol --oneliner show node` printed; other lines are ignored.

    A line of a comment can imitate a node: if a name occurs twice, nothing is known of that node.
    """
    nodes: dict[str, NodeState] = {}
    for line in output.split("\n"):
        if line.startswith("NodeName="):
            node = _node(line)
            twice = node.node in nodes
            nodes[node.node] = NodeState(node.node, "", reason=UNREADABLE) if twice else node
    return nodes


def _node(line: str) -> NodeState:
    ends = [found for text in _FREE_TEXTS if (found := line.find(text)) >= 0]
    end = min(ends, default=len(line))
    fixed, free = line[:end], line[end:]
    # some versions append `*` (does not respond), `~`, `#`... to the state
    base, *flags = re.sub(r"[^A-Z_+]", "", _field(fixed, "State")).split("+")
    return NodeState(
        node=_field(fixed, "NodeName"),
        base=base,
        flags=frozenset(flags),
        reason=_reason(free),
        address=_field(fixed, "NodeAddr"),
        hostname=_field(fixed, "NodeHostName"),
        registered_at=moment(_field(fixed, "SlurmdStartTime")),
        partitions=_field(fixed, "Partitions"),
    )


def _reason(free: str) -> str:
    """The reason in the free texts of a node; UNREADABLE unless it is there whole, and certain."""
    if not free.startswith(" Reason="):
        return ""
    setters = list(_SETTER.finditer(free))
    if len(setters) != 1 or not _NEXT_FIELD.fullmatch(free, setters[0].end()):
        return UNREADABLE
    return free[len(" Reason=") : setters[0].start()]


def moment(text: str) -> int | None:
    """A time as Slurm prints it with SLURM_TIME_FORMAT=%s, in ns; None for `None`, `N/A`, `Unknown`."""
    seconds = whole_number(text, least=1, most=2**63 // _NS)
    return None if seconds is None else seconds * _NS


def _field(fixed: str, name: str) -> str:
    """The value of a field; empty if it is missing, or not there once: slurmd's OS may imitate it."""
    _, found, rest = f" {fixed}".partition(f" {name}=")
    return rest.partition(" ")[0] if found and found not in rest else ""


def job_states_from(output: str) -> Mapping[int, str]:
    """The states of the jobs that `scontrol --oneliner show job` printed, by number; other lines are ignored.

    A job's name can imitate a state, or the line of a job: a job with two states has an empty one. Lines that
    agree are usual: with the first job of an array, or of a heterogeneous job, Slurm shows all the others.
    """
    states: dict[int, str] = {}
    for line in output.split("\n"):
        if found := _JOB_LINE.match(line):
            job_id, state = int(found[1]), _field(line, "JobState")
            states[job_id] = state if states.get(job_id, state) == state else ""
    return states


# The states of jobs that have nodes: squeue(1), "JOB STATE CODES". A running job to which SIGSTOP or
# SIGCONT is sent is SIGNALING until its slurmd answers, and then squeue does not take it for RUNNING.
HAVE_NODES = ("RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "STOPPED", "SIGNALING")
_JOB_FIELDS = (
    *("JobID", "State", "NodeList", "SubmitTime", "StartTime", "EndTime"),
    *("UserName", "exit_code", "Command", "Partition", "Reason", "HetJobID"),
)


def job_format(mark: str) -> str:
    """The --Format of squeue that `jobs_from` reads; no submitter knows `mark`, which does not begin with a digit.

    The path of a script may contain any usual separator, and could imitate the line of another job.
    """
    return ",".join(f"{field}:{mark}" for field in _JOB_FIELDS)


def jobs_from(output: str, mark: str) -> Mapping[int, JobState]:
    """The jobs that squeue printed in `job_format(mark)`; malformed ones are omitted."""
    found: dict[int, JobState] = {}
    fields = [iter(output.split(mark))] * len(_JOB_FIELDS)
    for job, state, nodes, submitted, started, ended, user, code, *texts, leader in zip(
        *fields, strict=False
    ):
        job_id = whole_number(job.removeprefix("\n"), least=1)
        if job_id is not None:
            exit_code = whole_number(code) or 0
            times = moment(submitted), moment(started), moment(ended)
            more = user, exit_code, *texts, whole_number(leader, least=1)
            found[job_id] = JobState(job_id, state, nodes, *times, *more)
    return found
