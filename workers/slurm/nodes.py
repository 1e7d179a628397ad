"""Slurm's view of a node and of a job, read from `scontrol --oneliner show node` and squeue. Pure.

22.05 has no `scontrol --json`, and 24.11 shapes its JSON differently from 22.05's sinfo; the one-line
form is the same in all of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# The words of Slurm's own for a node that did not register in time; 24.11 appends them to a reason.
RESUME_TIMEOUT = "ResumeTimeout reached"
# Slurm's words for a job that has ended because a node of it failed, or did not boot.
FAILED = frozenset({"NODE_FAIL", "BOOT_FAIL"})
LEFT_BY_NODE = FAILED | {"COMPLETING"}
_NS = 1_000_000_000
_REASON = re.compile(r"\sReason=(.*?) \[[^\[\]]*@[^\[\]]*\]")


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node, as Slurm sees it.

    Attributes:
        base: its base state (`IDLE`, `MIXED`, `DOWN`, ...).
        flags: what else is said of it (`CLOUD`, `POWERING_UP`, ...).
        reason: why it is out of service, without who said so; empty if nobody did.
        address: NodeAddr.
        hostname: NodeHostName.
        registered_at: when the slurmd that registered last had started, ns since the epoch, or None.
    """

    node: str
    base: str
    flags: frozenset[str] = frozenset()
    reason: str = ""
    address: str = ""
    hostname: str = ""
    registered_at: int | None = None

    @property
    def down(self) -> bool:
        """Whether no job may use it until somebody says so."""
        return self.base == "DOWN"

    @property
    def booting(self) -> bool:
        """Whether Slurm waits for it to register after a resume."""
        return "POWERING_UP" in self.flags

    @property
    def lost(self) -> bool:
        """Whether Slurm has given it up, and its jobs with it, for it no longer answers."""
        power = {"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "POWER_DOWN", "POWER_UP"}
        return self.down and "NOT_RESPONDING" in self.flags and not self.flags & power

    @property
    def out(self) -> bool:
        """Whether Slurm holds it to be powered down, by a suspend or by its own ResumeTimeout."""
        return "POWERED_DOWN" in self.flags


@dataclass(frozen=True, slots=True)
class JobState:
    """One job: its state (`PENDING`, `RUNNING`, ...) and the nodes it has, as a hostlist."""

    job_id: int
    state: str
    nodes: str


def nodes_from(shown: str) -> Mapping[str, NodeState]:
    """The nodes that `scontrol --oneliner show node` has printed; lines without a name are no nodes."""
    nodes = (_node(line) for line in shown.splitlines() if line.startswith("NodeName="))
    return {node.node: node for node in nodes}


def _node(line: str) -> NodeState:
    # `*` (does not respond), `~`, `#`... stand behind the state in some versions
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
    )


def moment(shown: str) -> int | None:
    """A time as Slurm prints it under SLURM_TIME_FORMAT=%s, in ns; None for `None`, `N/A`, `Unknown`."""
    return int(shown) * _NS if shown.isascii() and shown.isdigit() and int(shown) else None


def _field(line: str, name: str) -> str:
    found = re.search(rf"(?:^|\s){name}=(\S*)", line)
    return found[1] if found else ""


# squeue's --format that `jobs_from` reads: id, state, nodes
JOB_FORMAT = "%A|%T|%N"
# squeue(1), "JOB STATE CODES", of jobs that have nodes
HAVE_NODES = ("RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "STOPPED")


def jobs_from(shown: str) -> Mapping[int, JobState]:
    """The jobs that squeue has printed in JOB_FORMAT."""
    jobs = {}
    for line in shown.splitlines():
        job_id, found, rest = line.partition("|")
        state, _, nodes = rest.partition("|")
        if found and job_id.isascii() and job_id.isdigit():
            jobs[int(job_id)] = JobState(int(job_id), state, nodes)
    return jobs
