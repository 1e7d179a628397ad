"""Stores what the feedback remembers of nodes between events: failures in a row, and what is due when."""

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from schemas.commands import Desired
from schemas.envelope import parse
from schemas.events import RequestEvent, event_from
from workers.slurm.decide import RequestedState
from workers.store import tables
from workers.store.database import among, upsert
from workers.store.holds import all_holds
from workers.store.leases import is_leased
from workers.store.tables import feedback, nodes, requests


class Due(enum.StrEnum):
    """What happens to a node when its time has come.

    GIVE_BACK: it has waited long enough for an unavailable cloud.
    RETURN: it returns to service.
    FORGET: its failures no longer count.
    """

    GIVE_BACK = "give_back"
    RETURN = tables.RETURN
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """What is remembered of one node; times are ns since the epoch.

    Attributes:
        generation: of the request that this is about.
        failures: boots that failed in a row.
        due, due_at: what happens next, and when.
        error, reason: the class of the cause, and the reason in Slurm, set already or later.
        failed_at: when the last boot failed; 0 if none has.
        jobs: the jobs that wait for the node.
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


_COLUMNS = tuple(feedback.c[name] for name in NodeMemory.__dataclass_fields__)


def requested_states(
    connection: sa.Connection, cluster: str, names: Sequence[str]
) -> Mapping[str, RequestedState]:
    """The last requested states of these nodes."""
    leased = is_leased(connection)
    held = all_holds(connection, cluster)
    these = among(connection.dialect.name, nodes.c.node, names)
    query = sa.select(nodes.c.node, nodes.c.desired, nodes.c.generation, leased).where(
        nodes.c.cluster == cluster, these, nodes.c.generation > 0
    )
    return {
        node: RequestedState(Desired(desired), generation, bool(has_lease), node in held)
        for node, desired, generation, has_lease in connection.execute(query)
    }


def newest_rounds(
    connection: sa.Connection, cluster: str, names: Sequence[str]
) -> Mapping[str, tuple[int, RequestEvent | None]]:
    """The generation of each node's newest request, and the outcome of its last round; None if it is open."""
    these = among(connection.dialect.name, nodes.c.node, names)
    query = (
        sa.select(nodes.c.node, nodes.c.generation, requests.c.event)
        .join(requests, requests.c.request_id == nodes.c.request_id)
        .where(nodes.c.cluster == cluster, these, requests.c.cluster == cluster)
        .order_by(requests.c.round)
    )
    return {
        node: (generation, None if event is None else event_from(parse(event)))
        for node, generation, event in connection.execute(query)
    }


def requested_before(
    connection: sa.Connection, cluster: str, node: str, generation: int
) -> int | None:
    """The generation of the node's last request before this one; None if none is stored."""
    query = sa.select(sa.func.max(requests.c.generation)).where(
        requests.c.cluster == cluster, requests.c.node == node, requests.c.generation < generation
    )
    return connection.execute(query).scalar()


def recall(
    connection: sa.Connection, cluster: str, names: Sequence[str]
) -> Mapping[str, NodeMemory]:
    """What is remembered of these nodes."""
    these = among(connection.dialect.name, feedback.c.node, names)
    return {memory.node: memory for memory in _select(connection, cluster, these)}


def recall_all(connection: sa.Connection, cluster: str) -> Mapping[str, NodeMemory]:
    """What is remembered of all nodes."""
    return {memory.node: memory for memory in _select(connection, cluster, sa.true())}


def claim(connection: sa.Connection, cluster: str, now: int, until: int) -> list[NodeMemory]:
    """What is due at `now`, the longest due first; it is due again at `until` unless it is replaced.

    A worker on the backup controller claims too: each entry goes to one worker.
    """
    query = _query(cluster, feedback.c.due_at <= now).with_for_update(skip_locked=True)
    due = _memories(connection, query)
    these = among(connection.dialect.name, feedback.c.node, [memory.node for memory in due])
    claimed = sa.update(feedback).where(feedback.c.cluster == cluster, these)
    connection.execute(claimed.values(due_at=until))
    return due


def returning(connection: sa.Connection, cluster: str) -> list[NodeMemory]:
    """The nodes that are out of service until their cool-down is over."""
    return _select(connection, cluster, feedback.c.due == str(Due.RETURN))


def remember(connection: sa.Connection, cluster: str, memories: Iterable[NodeMemory]) -> None:
    """Store these memories, in place of the earlier ones of the same nodes."""
    rows = [
        asdict(memory)
        | {"cluster": cluster, "due": str(memory.due), "jobs": json.dumps(memory.jobs)}
        for memory in sorted(memories, key=lambda memory: memory.node)
    ]
    if rows:
        connection.execute(upsert(connection.dialect.name, feedback), rows)


def forget(connection: sa.Connection, cluster: str, names: Sequence[str]) -> None:
    """Delete what is remembered of these nodes."""
    these = among(connection.dialect.name, feedback.c.node, names)
    connection.execute(sa.delete(feedback).where(feedback.c.cluster == cluster, these))


def _select(
    connection: sa.Connection, cluster: str, condition: sa.ColumnElement[bool]
) -> list[NodeMemory]:
    return _memories(connection, _query(cluster, condition))


def _query(cluster: str, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(*_COLUMNS)
        .where(feedback.c.cluster == cluster, condition)
        .order_by(feedback.c.due_at, feedback.c.node)
    )


def _memories(connection: sa.Connection, query: sa.Select[Any]) -> list[NodeMemory]:
    return [
        NodeMemory(**{**row, "due": Due(row["due"]), "jobs": tuple(json.loads(row["jobs"]))})
        for row in connection.execute(query).mappings()
    ]
