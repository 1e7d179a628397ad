"""Each node's desired state in the store: the highest generation wins, one worker acts at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from schemas.commands import Desired, PowerCommand
from workers.power.lease_owner import Owner
from workers.store.database import store_clock
from workers.store.tables import holds, nodes, requests
from workers.store.upsert import insert

_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class DesiredRow:
    """A node's row.

    Attributes:
        request_id: of the request that raised it to this generation.
        lease_owner: who may act on the node, if anybody.
        lease_left: seconds that the lease still runs; not above 0 where it has ended.
        wary_left: seconds in which a call may still take effect whose answer nobody has heard, for
            its worker was killed, or the cloud said none; what is seen before ends nothing.
        held: why somebody keeps everybody off the node, if so.
    """

    node: str
    desired: Desired
    generation: int
    request_id: str
    server_id: str | None
    lease_owner: str | None
    lease_left: float
    wary_left: float = 0.0
    held: str | None = None


def accept(  # noqa: PLR0913, PLR0917 - the store, what is asked, and by whom
    connection: sa.Connection,
    cluster: str,
    commands: Sequence[PowerCommand],
    owner: Owner,
    lease: float,
    landing: float,
) -> Mapping[str, DesiredRow]:
    """Raise desired states, and take the nodes' leases where they are free.

    Args:
        connection: within a transaction.
        cluster: the cluster's name.
        commands: any number, also several for one node, in any order.
        owner: this worker.
        lease: seconds.
        landing: seconds within which a call that was sent takes effect, if ever.

    Returns:
        The rows as they are now, by node; ours are those with our name as lease_owner.
    """
    if not commands:
        return {}
    highest: dict[str, PowerCommand] = {}
    for command in commands:
        known = highest.get(command.node)
        if known is None or command.generation > known.generation:
            highest[command.node] = command
    names = sorted(highest)
    statement = insert(connection, nodes)
    statement = statement.on_conflict_do_update(
        index_elements=[nodes.c.cluster, nodes.c.node],
        set_={name: statement.excluded[name] for name in ("desired", "generation", "request_id")},
        where=statement.excluded.generation > nodes.c.generation,
    )
    connection.execute(
        statement,
        [
            {
                "cluster": cluster,
                "node": name,
                "desired": str(highest[name].desired),
                "generation": highest[name].generation,
                "request_id": highest[name].id,
            }
            for name in names
        ],
    )
    _free_the_dead(connection, cluster, names, owner, landing)
    now = store_clock(connection.dialect.name)
    free = sa.or_(
        nodes.c.lease_owner.is_(None), nodes.c.lease_owner == owner.name, nodes.c.lease_until < now
    )
    for part in _parts(names):
        connection.execute(
            sa.update(nodes)
            .where(nodes.c.cluster == cluster, nodes.c.node.in_(part), free)
            .values(lease_owner=owner.name, lease_until=now + int(lease * 1000))
        )
    return read(connection, cluster, names)


def read(connection: sa.Connection, cluster: str, names: Sequence[str]) -> Mapping[str, DesiredRow]:
    """The rows of these nodes."""
    now = store_clock(connection.dialect.name)
    columns = (
        nodes.c.node,
        nodes.c.desired,
        nodes.c.generation,
        nodes.c.request_id,
        nodes.c.server_id,
        nodes.c.lease_owner,
        nodes.c.lease_until - now,
        nodes.c.unsettled_until - now,
        holds.c.reason,
    )
    on_hold = sa.and_(holds.c.cluster == nodes.c.cluster, holds.c.node == nodes.c.node)
    known = nodes.outerjoin(holds, on_hold)
    rows: dict[str, DesiredRow] = {}
    for part in _parts(names):
        these = sa.and_(nodes.c.cluster == cluster, nodes.c.node.in_(part))
        query = sa.select(*columns).select_from(known).where(these)
        for (
            node,
            desired,
            generation,
            request_id,
            server_id,
            owner,
            lease,
            wary,
            held,
        ) in connection.execute(query):
            rows[node] = DesiredRow(
                node,
                Desired(desired),
                generation,
                request_id,
                server_id,
                owner,
                lease / 1000,
                max(wary / 1000, 0.0),
                held,
            )
    return rows


def lock(connection: sa.Connection, cluster: str, names: Sequence[str]) -> Mapping[str, DesiredRow]:
    """The rows of these nodes, which nobody else changes before the transaction's end."""
    for part in _parts(sorted(names)):
        _lock(connection, sa.and_(nodes.c.cluster == cluster, nodes.c.node.in_(part)))
    return read(connection, cluster, names)


def renew(connection: sa.Connection, cluster: str, owner: Owner, lease: float) -> None:
    """Prolong all leases of ours; one that another worker has taken stays taken."""
    until = store_clock(connection.dialect.name) + int(lease * 1000)
    ours = sa.and_(nodes.c.cluster == cluster, nodes.c.lease_owner == owner.name)
    _lock(connection, ours)
    connection.execute(sa.update(nodes).where(ours).values(lease_until=until))


def release(connection: sa.Connection, cluster: str, names: Sequence[str], owner: Owner) -> None:
    """Give leases up."""
    for part in _parts(sorted(names)):
        ours = sa.and_(
            nodes.c.cluster == cluster,
            nodes.c.node.in_(part),
            nodes.c.lease_owner == owner.name,
        )
        _lock(connection, ours)
        connection.execute(sa.update(nodes).where(ours).values(lease_owner=None, lease_until=0))


def be_wary(connection: sa.Connection, cluster: str, names: Iterable[str], landing: float) -> None:
    """Say that something sent just now may take effect within `landing` seconds."""
    until = store_clock(connection.dialect.name) + int(landing * 1000)
    for part in _parts(sorted(names)):
        which = sa.and_(nodes.c.cluster == cluster, nodes.c.node.in_(part))
        _lock(connection, which)
        connection.execute(sa.update(nodes).where(which).values(unsettled_until=_later(until)))


@dataclass(frozen=True, slots=True)
class Observation:
    """What a node was seen to be; `at` in ns since the epoch."""

    node: str
    server_id: str | None
    status: str
    at: int


def observe(connection: sa.Connection, cluster: str, seen: Sequence[Observation]) -> None:
    """Keep what was seen, for people and for the next action."""
    if not seen:
        return
    statement = (
        sa.update(nodes)
        .where(nodes.c.cluster == cluster, nodes.c.node == sa.bindparam("which"))
        .values(
            server_id=sa.func.coalesce(sa.bindparam("server"), nodes.c.server_id),
            observed=sa.bindparam("status"),
            observed_at=sa.bindparam("at"),
        )
    )
    connection.execute(
        statement,
        [
            {"which": o.node, "server": o.server_id, "status": o.status, "at": o.at}
            for o in sorted(seen, key=lambda o: o.node)
        ],
    )


def actions_of(
    connection: sa.Connection, cluster: str, request_ids: Iterable[str]
) -> Mapping[tuple[str, int], str]:
    """The recorded actions (JSON) of these requests' rounds."""
    found: dict[tuple[str, int], str] = {}
    for part in _parts(sorted(request_ids)):
        query = sa.select(requests.c.request_id, requests.c.round, requests.c.actions).where(
            requests.c.cluster == cluster, requests.c.request_id.in_(part)
        )
        for request_id, round_, actions in connection.execute(query):
            found[request_id, round_] = actions
    return found


def record_actions(
    connection: sa.Connection, cluster: str, actions: Mapping[tuple[str, int], str]
) -> None:
    """Keep the actions (JSON) made for these rounds."""
    if not actions:
        return
    statement = (
        sa.update(requests)
        .where(
            requests.c.cluster == cluster,
            requests.c.request_id == sa.bindparam("which"),
            requests.c.round == sa.bindparam("try_"),
        )
        .values(actions=sa.bindparam("made"))
    )
    connection.execute(
        statement,
        [{"which": key[0], "try_": key[1], "made": actions[key]} for key in sorted(actions)],
    )


def _lock(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Lock rows in one order for everybody, so that no two workers wait in a circle.

    SQLite needs nothing for it: its writers begin one after the other.
    """
    if connection.dialect.name == "postgresql":
        # the order of Python's sorted, which a locale's is not
        order = nodes.c.node.collate("C")
        connection.execute(sa.select(nodes.c.node).where(which).order_by(order).with_for_update())


def _free_the_dead(
    connection: sa.Connection, cluster: str, names: Sequence[str], owner: Owner, landing: float
) -> None:
    """Free what killed workers held, also where we were not asked; but what they sent may land."""
    landed = store_clock(connection.dialect.name) + int(landing * 1000)
    # no call outlasts the lease that it was made under
    until = sa.case((nodes.c.lease_until < landed, nodes.c.lease_until), else_=landed)
    for part in _parts(names):
        holders = connection.execute(
            sa.select(nodes.c.lease_owner)
            .distinct()
            .where(
                nodes.c.cluster == cluster,
                nodes.c.node.in_(part),
                nodes.c.lease_owner.is_not(None),
                nodes.c.lease_owner != owner.name,
            )
        ).scalars()
        for holder in [name for name in holders if owner.is_dead(name)]:
            connection.execute(
                sa.update(nodes)
                .where(nodes.c.cluster == cluster, nodes.c.lease_owner == holder)
                .values(lease_owner=None, lease_until=0, unsettled_until=_later(until))
            )


def _later(until: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """That, unless there is reason to be wary for longer."""
    return sa.case((until > nodes.c.unsettled_until, until), else_=nodes.c.unsettled_until)


def _parts(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + _PER_QUERY] for start in range(0, len(names), _PER_QUERY))
