"""What a report is asked, and what must be known for an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.report.strays import Stray

# What was lit for no job, or for one that nobody knows, is told under this name.
NOBODY = "-"
BY = ("group", "cloud", "strategy", "vo", "user", "job")
PERSONAL = frozenset({"job", "user"})


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where a node belongs by the configuration."""

    group: str
    cloud: str
    strategy: str
    vo: str | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """A time that Slurm gave a node to a job, ns since the epoch."""

    node: str
    job: int
    user: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        begin, end: the time, ns since the epoch; the end is exclusive.
        by: `group`, `cloud`, `strategy`, `vo`, `user` or `job`.
        places: of the configured nodes.
        allocations: Slurm's; None where they are not known.
        suspend_time: Slurm's SuspendTime as it might have been; None where that is not asked.
        heard: by node, when Slurm has said anything of it, in order; None where it has of all.
        orphans: nodes that were found to burn in vain.
        strays: servers that were found to be no node's.
    """

    begin: int
    end: int
    by: str
    places: Mapping[str, NodePlace]
    allocations: Sequence[Allocation] | None = None
    suspend_time: int | None = None
    heard: Mapping[str, Sequence[int]] | None = None
    orphans: frozenset[str] = frozenset()
    strays: Sequence[Stray] = ()
