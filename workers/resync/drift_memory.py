"""Stores the known drifts: since when they last, and how many repairs were requested."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from workers.resync.drift import Drift
from workers.store.database import insert
from workers.store.tables import drifts


@dataclass(frozen=True, slots=True)
class DriftMemory:
    """One drift; `subject` is a node or the ID of a server, times are ns since the epoch."""

    subject: str
    drift: Drift
    since: int
    repairs: int = 0
    repaired_at: int = 0


def recall(connection: sa.Connection, cluster: str) -> Mapping[str, DriftMemory]:
    """All known drifts, by subject."""
    query = sa.select(drifts).where(drifts.c.cluster == cluster)
    return {
        row.subject: DriftMemory(
            row.subject, Drift(row.kind), row.since, row.repairs, row.repaired_at
        )
        for row in connection.execute(query)
    }


def remember(connection: sa.Connection, cluster: str, memories: Iterable[DriftMemory]) -> None:
    """Replace all known drifts by these."""
    rows = [
        {
            "cluster": cluster,
            "subject": memory.subject,
            "kind": str(memory.drift),
            "since": memory.since,
            "repairs": memory.repairs,
            "repaired_at": memory.repaired_at,
        }
        for memory in sorted(memories, key=lambda memory: memory.subject)
    ]
    connection.execute(sa.delete(drifts).where(drifts.c.cluster == cluster))
    if rows:
        # an operator's repair and the worker may write at the same time
        connection.execute(insert(connection.dialect.name, drifts).on_conflict_do_nothing(), rows)
