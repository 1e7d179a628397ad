"""Nodes that Slurm was told to leave alone, as `lamplighter status` shows them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import hostlist
import sqlalchemy as sa

from ops.cli.terminal import duration, print_line, print_table
from workers.slurm.node_memory import NodeMemory, returning

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Out:
    """Nodes that are alike: what Slurm was told, boots failed in a row, and when the first returns."""

    names: str
    reason: str
    failures: int
    returns_in_seconds: float


def out_of_service(connection: sa.Connection, cluster: str) -> list[Out]:
    """All of them."""
    now = time.time_ns()
    alike: dict[tuple[str, int], list[NodeMemory]] = {}
    for memory in returning(connection, cluster):
        alike.setdefault((memory.reason, memory.failures), []).append(memory)
    return [
        Out(
            names=hostlist.collect_hostlist([memory.node for memory in memories]),
            reason=reason,
            failures=failures,
            returns_in_seconds=max(0, memories[0].due_at - now) / _NS,
        )
        for (reason, failures), memories in alike.items()
    ]


def print_out(out: Sequence[Out]) -> None:
    """For people; nothing where there are none."""
    if not out:
        return
    print_line("")
    print_table(
        ("out of service", "reason", "failures", "returns in"),
        [(o.names, o.reason, o.failures, duration(round(o.returns_in_seconds * _NS))) for o in out],
    )
