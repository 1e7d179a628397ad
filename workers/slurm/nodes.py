"""Parses nodes and jobs from `scontrol --oneliner show node` and squeue. Pure.

22.05 has no `scontrol --json`, and the JSON of 24.11 differs from that of 22.05's sinfo; the one-line
form is the same in all versions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Slurm's states of a job that ended because one of its nodes failed or did not boot.
FAILED = frozenset({"NODE_FAIL", "BOOT_FAIL"})
LEFT_BY_NODE = FAILED | {"COMPLETING"}
_NS = 1_000_000_000
_POWER = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_UP"})
_REASON = re.compile(r"\sReason=(.*?) \[[^\[\]]*@[^\[\]]*\]")


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
    def down(self) -> bool:
        """Whether no job may use the node until an explicit update."""
        return self.base == "DOWN"

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
    def powered_down(self) -> bool:
        """Whether the node is powered down for Slurm, after a suspend or Slurm's ResumeTimeout."""
        return "POWERED_DOWN" in self.flags


@dataclass(frozen=True, slots=True)
class JobState:
    """One job: its state (`PENDING`, `RUNNING`, ...) and its nodes, as a hostlist."""

    job_id: int
    state: str
    nodes: str


def nodes_from(output: str) -> Mapping[str, NodeState]:
    """The nodes that `scontrol --oneliner show node` printed; other lines are ignored."""
    nodes = (_node(line) for line in output.splitlines() if line.startswith("NodeName="))
    return {node.node: node for node in nodes}


def _node(line: str) -> NodeState:
    # some versions append `*` (does not respond), `~`, `#`... to the state
    base, *flags = re.sub(r"[^A-Z_+]", "", _field(line, "State")).split("+")
    reason = _REASON.search(line)
    return NodeState(
        node=_field(line, "NodeName"),
        base=base,
        flags=frozenset(flags),
        reason=reason[1] if reason else "",
        address=_field(line, "NodeAddr"),
        hostname=_field(line, "NodeHostName"),
        registered_at=moment(_field(line, "SlurmdStartTime")),
        partitions=_field(line, "Partitions"),
    )


def moment(text: str) -> int | None:
    """A time as Slurm prints it with SLURM_TIME_FORMAT=%s, in ns; None for `None`, `N/A`, `Unknown`."""
    return int(text) * _NS if text.isascii() and text.isdigit() and int(text) else None


def _field(line: str, name: str) -> str:
    found = re.search(rf"(?:^|\s){name}=(\S*)", line)
    return found[1] if found else ""


# The --format of squeue that `jobs_from` parses: ID, state, nodes.
JOB_FORMAT = "%A|%T|%N"
# The states of jobs that have nodes: squeue(1), "JOB STATE CODES".
HAVE_NODES = ("RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "STOPPED")


def jobs_from(output: str) -> Mapping[int, JobState]:
    """The jobs that squeue printed in JOB_FORMAT."""
    jobs = {}
    for line in output.splitlines():
        job_id, found, rest = line.partition("|")
        state, _, nodes = rest.partition("|")
        if found and job_id.isascii() and job_id.isdigit():
            jobs[int(job_id)] = JobState(int(job_id), state, nodes)
    return jobs
