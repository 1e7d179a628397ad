"""What to report, and the data it is computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.report.strays import Stray

# The key of time that no job used, or whose user, group, ... is not known.
UNASSIGNED = "-"
BY = ("group", "cloud", "strategy", "vo", "user", "job")
PERSONAL = frozenset({"job", "user"})


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where a node belongs according to the configuration."""

    group: str
    cloud: str
    strategy: str
    vo: str | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """A time that Slurm allocated a node to a job, ns since the epoch."""

    node: str
    job: int
    user: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class StartWait:
    """A time, ns since the epoch, that a node of a job waited for slurmctld's timer, all nodes ready."""

    node: str
    job: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """What to report.

    Attributes:
        begin, end: the time of the report, ns since the epoch; the end is exclusive.
        by: what the rows are: `group`, `cloud`, `strategy`, `vo`, `user` or `job`.
        allocations: Slurm's allocations; None if they are not known.
        suspend_time: a SuspendTime (ns) for which to compute `suspend_saved`, or None.
        reported_at: for each node, the times at which Slurm reported anything about it, in order;
            None if the allocations are complete.
        start_waits: the nodes' waits for slurmctld's timer; None if they are not known.
        has_prolog: whether jobs wait in lamplighter-prolog, which spares most of that.
    """

    begin: int
    end: int
    by: str
    places: Mapping[str, NodePlace]
    allocations: Sequence[Allocation] | None = None
    suspend_time: int | None = None
    reported_at: Mapping[str, Sequence[int]] | None = None
    start_waits: Sequence[StartWait] | None = None
    has_prolog: bool = False
    orphans: frozenset[str] = frozenset()
    strays: Sequence[Stray] = ()
