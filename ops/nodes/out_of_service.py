"""Nodes that are out of service in Slurm for a time, as `lamplighter status` shows them."""

import time
from dataclasses import dataclass

import hostlist
import sqlalchemy as sa

from ops.cli.terminal import Columns, duration_of
from workers.slurm.node_memory import NodeMemory, returning

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class OutOfService:
    """Nodes (a hostlist) with one reason in Slurm and the same number of failed boots in a row.

    The first of them returns to service in `returns_in_seconds`.
    """

    names: str
    reason: str
    failures: int
    returns_in_seconds: float


COLUMNS: Columns[OutOfService] = {
    "out of service": lambda group: group.names,
    "reason": lambda group: group.reason,
    "failures": lambda group: group.failures,
    "returns in": lambda group: duration_of(group.returns_in_seconds),
}


def out_of_service(connection: sa.Connection, cluster: str) -> list[OutOfService]:
    """All nodes that are out of service."""
    now = time.time_ns()
    groups: dict[tuple[str, int], list[NodeMemory]] = {}
    for memory in returning(connection, cluster):
        groups.setdefault((memory.reason, memory.failures), []).append(memory)
    return [
        OutOfService(
            names=hostlist.collect_hostlist([memory.node for memory in memories]),
            reason=reason,
            failures=failures,
            returns_in_seconds=max(0, memories[0].due_at - now) / _NS,
        )
        for (reason, failures), memories in groups.items()
    ]
