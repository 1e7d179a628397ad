"""What the feedback remembers of nodes between events: failures in a row, and what is due when."""

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schemas.commands import Desired
from workers.slurm.decide import Newest
from workers.store.holds import all_holds
from workers.store.leases import is_leased
from workers.store.tables import feedback, nodes
from workers.store.upsert import insert

_PER_QUERY = 500


class Due(enum.StrEnum):
    """What happens to a node at its time.

    GIVE_BACK: it has waited long enough for a cloud that is away.
    RETURN: it goes back into service.
    FORGET: its failures no longer count.
    """

    GIVE_BACK = "give_back"
    RETURN = "return"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """What is known of one node; times are ns since the epoch.

    Attributes:
        generation: of the request that this is about.
        failures: boots that failed in a row.
        due, due_at: what happens next, and when.
        error, reason: the cause's class, and what Slurm was told or will be.
        failed_at: when the last of them failed; 0 where none has.
        jobs: who waits for the node.
    """

    node: str
    generation: int
    failures: int
    due: Due
    due_at: int
    error: str
    reason: str
    failed_at: int = 0
    jobs: tuple[int, ...] = ()


def newest(connection: sa.Connection, cluster: str, names: Sequence[str]) -> Mapping[str, Newest]:
    """The desired states of these nodes."""
    leased = is_leased(connection)
    held = all_holds(connection, cluster)
    found: dict[str, Newest] = {}
    for part in _parts(names):
        query = sa.select(nodes.c.node, nodes.c.desired, nodes.c.generation, leased).where(
            nodes.c.cluster == cluster, nodes.c.node.in_(part)
        )
        for node, desired, generation, has_lease in connection.execute(query):
            found[node] = Newest(
                Desired(desired), generation, leased=bool(has_lease), held=node in held
            )
    return found


def recall(
    connection: sa.Connection, cluster: str, names: Sequence[str]
) -> Mapping[str, NodeMemory]:
    """What is remembered of these nodes."""
    found: dict[str, NodeMemory] = {}
    for part in _parts(names):
        which = feedback.c.node.in_(part)
        found |= {memory.node: memory for memory in _select(connection, cluster, which)}
    return found


def recall_all(connection: sa.Connection, cluster: str) -> Mapping[str, NodeMemory]:
    """What is remembered of any node."""
    return {memory.node: memory for memory in _select(connection, cluster, sa.true())}


def claim(connection: sa.Connection, cluster: str, now: int, until: int) -> list[NodeMemory]:
    """What is due at `now`, the longest due first; it is due again at `until` if nobody sees to it.

    A worker that stands by on the backup controller looks too: each entry goes to one of them.
    """
    which = sa.and_(feedback.c.cluster == cluster, feedback.c.due_at <= now)
    query = sa.select(feedback).where(which).with_for_update(skip_locked=True)
    due = _memories(connection, query)
    for part in _parts([memory.node for memory in due]):
        connection.execute(
            sa.update(feedback)
            .where(feedback.c.cluster == cluster, feedback.c.node.in_(part))
            .values(due_at=until)
        )
    return due


def returning(connection: sa.Connection, cluster: str) -> list[NodeMemory]:
    """The nodes that are out of service until their cool-down ends."""
    return _select(connection, cluster, feedback.c.due == str(Due.RETURN))


def remember(connection: sa.Connection, cluster: str, memories: Iterable[NodeMemory]) -> None:
    """Write these, in the place of what was known of their nodes."""
    rows = [
        {
            "cluster": cluster,
            "node": memory.node,
            "generation": memory.generation,
            "failures": memory.failures,
            "due": str(memory.due),
            "due_at": memory.due_at,
            "error": memory.error,
            "reason": memory.reason,
            "failed_at": memory.failed_at,
            "jobs": json.dumps(memory.jobs),
        }
        for memory in sorted(memories, key=lambda memory: memory.node)
    ]
    if not rows:
        return
    statement = insert(connection, feedback)
    keys = ("cluster", "node")
    statement = statement.on_conflict_do_update(
        index_elements=[feedback.c[key] for key in keys],
        set_={name: statement.excluded[name] for name in rows[0] if name not in keys},
    )
    connection.execute(statement, rows)


def forget(connection: sa.Connection, cluster: str, names: Sequence[str]) -> None:
    """Know nothing of these nodes any more."""
    for part in _parts(names):
        connection.execute(
            sa.delete(feedback).where(feedback.c.cluster == cluster, feedback.c.node.in_(part))
        )


def _select(
    connection: sa.Connection, cluster: str, which: sa.ColumnElement[bool]
) -> list[NodeMemory]:
    return _memories(connection, sa.select(feedback).where(feedback.c.cluster == cluster, which))


def _memories(connection: sa.Connection, query: sa.Select[Any]) -> list[NodeMemory]:
    return [
        NodeMemory(
            node=row.node,
            generation=row.generation,
            failures=row.failures,
            due=Due(row.due),
            due_at=row.due_at,
            error=row.error,
            reason=row.reason,
            failed_at=row.failed_at,
            jobs=tuple(json.loads(row.jobs)),
        )
        for row in connection.execute(query.order_by(feedback.c.due_at, feedback.c.node))
    ]


def _parts(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + _PER_QUERY] for start in range(0, len(names), _PER_QUERY))
