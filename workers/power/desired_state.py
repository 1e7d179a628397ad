"""Each node's desired state in the store: the highest generation wins, one worker acts at a time.

Functions over a connection within a transaction. Leases run on the store's own clock. That clock may
step: a lease that seems to run for longer than any lease does counts as ended, and none that is read
seems to run for longer.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa

from schemas.commands import Desired, Kind, PowerCommand
from workers.power.node_row import DesiredRow, Lease
from workers.power.suspend_guard import is_guarded
from workers.store.chunks import chunks
from workers.store.database import store_clock
from workers.store.tables import holds, nodes
from workers.store.upsert import insert


def accept(
    connection: sa.Connection,
    cluster: str,
    commands: Sequence[PowerCommand],
    lease: Lease,
    now: int,
) -> Mapping[str, DesiredRow]:
    """Raise desired states, and take the nodes' leases where they are free.

    Args:
        connection: within a transaction.
        cluster: the cluster's name.
        commands: any number, also several for one node, in any order.
        lease: how this worker owns nodes.
        now: ns since the epoch.

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
    _raise(connection, cluster, [highest[name] for name in names], now)
    _note_missed_suspends(connection, cluster, commands)
    _free_the_dead(connection, cluster, names, lease)
    clock = store_clock(connection.dialect.name)
    free = sa.or_(
        nodes.c.lease_owner.is_(None),
        nodes.c.lease_owner == lease.owner.name,
        nodes.c.lease_until < clock,
    )
    for part in chunks(names):
        connection.execute(
            sa.update(nodes)
            .where(_these(cluster, part), free)
            .values(lease_owner=lease.owner.name, lease_until=clock + lease.ms)
        )
    return read(connection, cluster, names, lease)


def _raise(
    connection: sa.Connection, cluster: str, commands: Sequence[PowerCommand], now: int
) -> None:
    """Upsert-if-greater.

    slurmctld resumes only a node that it holds to be powered down, and then ignores a slurmd whose
    boot is older than its request (facts of Slurm 22.05 to 24.11): a server that still runs, because
    a suspend was late or lost, must boot. A second resume of a boot that is under way needs no other.
    """
    statement = insert(connection, nodes)
    fresh = statement.excluded
    same_boot = sa.and_(
        nodes.c.desired == str(Desired.UP),
        nodes.c.reached < nodes.c.generation,
        nodes.c.boot_from > 0,
    )
    keeps = sa.or_(fresh.boot_from == 0, same_boot)
    statement = statement.on_conflict_do_update(
        index_elements=[nodes.c.cluster, nodes.c.node],
        set_={
            "boot_from": sa.case((keeps, nodes.c.boot_from), else_=fresh.boot_from),
            **{name: fresh[name] for name in ("desired", "generation", "request_id")},
        },
        where=fresh.generation > nodes.c.generation,
    )
    rows = [
        {
            "cluster": cluster,
            "node": command.node,
            "desired": str(command.desired),
            "generation": command.generation,
            "request_id": command.id,
            "boot_from": command.generation if _waits_for_a_boot(command, now) else 0,
        }
        for command in commands
    ]
    connection.execute(statement, rows)


def _waits_for_a_boot(command: PowerCommand, now: int) -> bool:
    """Whether slurmctld waits for a boot now; an operator's resume has no expiry."""
    is_slurms = command.kind is Kind.RESUME and command.expiry is not None
    return is_slurms and (command.expiry or 0) >= now


def _note_missed_suspends(
    connection: sa.Connection, cluster: str, commands: Sequence[PowerCommand]
) -> None:
    """A suspend that a resume has overtaken: the boot that is due is one after it."""
    missed = [
        {"which": command.node, "below": command.generation}
        for command in commands
        if is_guarded(command)
    ]
    if not missed:
        return
    below = sa.bindparam("below", type_=sa.BigInteger)
    overtaken = sa.and_(
        nodes.c.cluster == cluster,
        nodes.c.node == sa.bindparam("which"),
        nodes.c.desired == str(Desired.UP),
        nodes.c.generation > below,
        nodes.c.reached < nodes.c.generation,
        nodes.c.boot_from.between(1, below),
    )
    connection.execute(sa.update(nodes).where(overtaken).values(boot_from=below), missed)


def read(
    connection: sa.Connection, cluster: str, names: Sequence[str], lease: Lease
) -> Mapping[str, DesiredRow]:
    """The rows of these nodes."""
    clock = store_clock(connection.dialect.name)
    columns = (
        nodes.c.node,
        nodes.c.desired,
        nodes.c.generation,
        nodes.c.request_id,
        nodes.c.server_id,
        nodes.c.lease_owner,
        nodes.c.lease_until - clock,
        nodes.c.unsettled_until - clock,
        holds.c.reason,
        nodes.c.booted,
        nodes.c.boot_from,
    )
    on_hold = sa.and_(holds.c.cluster == nodes.c.cluster, holds.c.node == nodes.c.node)
    known = nodes.outerjoin(holds, on_hold)
    rows: dict[str, DesiredRow] = {}
    for part in chunks(names):
        query = sa.select(*columns).select_from(known).where(_these(cluster, part))
        for row in connection.execute(query):
            node, desired, generation, request, server, owner, left, unsettled, *rest = row
            rows[node] = DesiredRow(
                node,
                Desired(desired),
                generation,
                request,
                server,
                owner,
                min(left / 1000, lease.seconds),
                min(max(unsettled / 1000, 0.0), lease.settling),
                *rest,
            )
    return rows


def changed(
    connection: sa.Connection, cluster: str, known: Mapping[str, int], lease: Lease
) -> list[str]:
    """The nodes of ours that another process has touched: raised, taken over, or put on hold."""
    query = sa.select(nodes.c.node, nodes.c.generation).where(
        nodes.c.cluster == cluster, nodes.c.lease_owner == lease.owner.name
    )
    now = {row.node: row.generation for row in connection.execute(query)}
    held = connection.scalars(sa.select(holds.c.node).where(holds.c.cluster == cluster))
    touched = {node for node, generation in known.items() if now.get(node) != generation}
    return sorted(touched | (set(held) & set(known)))


def lock(
    connection: sa.Connection, cluster: str, names: Sequence[str], lease: Lease
) -> Mapping[str, DesiredRow]:
    """The rows of these nodes, which nobody else changes before the transaction ends."""
    for part in chunks(sorted(names)):
        _lock(connection, _these(cluster, part))
    return read(connection, cluster, names, lease)


def renew(connection: sa.Connection, cluster: str, lease: Lease) -> None:
    """Extend all leases of ours; one that another worker has taken stays taken."""
    until = store_clock(connection.dialect.name) + lease.ms
    ours = sa.and_(nodes.c.cluster == cluster, nodes.c.lease_owner == lease.owner.name)
    _lock(connection, ours)
    connection.execute(sa.update(nodes).where(ours).values(lease_until=until))


def release(connection: sa.Connection, cluster: str, names: Iterable[str], lease: Lease) -> None:
    """Give leases up."""
    for part in chunks(sorted(names)):
        ours = sa.and_(_these(cluster, part), nodes.c.lease_owner == lease.owner.name)
        _lock(connection, ours)
        connection.execute(sa.update(nodes).where(ours).values(lease_owner=None, lease_until=0))


def mark_unsettled(
    connection: sa.Connection, cluster: str, names: Iterable[str], lease: Lease
) -> None:
    """Note that a call that was sent just now may still take effect."""
    until = store_clock(connection.dialect.name) + lease.settling_ms
    for part in chunks(sorted(names)):
        _lock(connection, _these(cluster, part))
        connection.execute(
            sa.update(nodes).where(_these(cluster, part)).values(unsettled_until=_later(until))
        )


def _lock(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Lock rows in one order for everybody, so that no two workers wait in a circle.

    SQLite needs nothing for it: its writers begin one after the other.
    """
    if connection.dialect.name == "postgresql":
        # Python's order of strings, not a locale's
        order = nodes.c.node.collate("C")
        connection.execute(sa.select(nodes.c.node).where(which).order_by(order).with_for_update())


def _free_the_dead(
    connection: sa.Connection, cluster: str, names: Collection[str], lease: Lease
) -> None:
    """Free what killed workers held, on all nodes; calls that they sent may still take effect.

    Also free what seems to be leased for longer than a lease lasts: the store's clock was set back,
    and its holder, which renews four times in a lease, has not renewed since.
    """
    clock = store_clock(connection.dialect.name)
    settled = clock + lease.settling_ms
    # no call outlasts the lease that it was made under
    until = sa.case((nodes.c.lease_until < settled, nodes.c.lease_until), else_=settled)
    freed = {"lease_owner": None, "lease_until": 0, "unsettled_until": _later(until)}
    for part in chunks(sorted(names)):
        others = sa.and_(
            _these(cluster, part),
            nodes.c.lease_owner.is_not(None),
            nodes.c.lease_owner != lease.owner.name,
        )
        too_long = nodes.c.lease_until > clock + 2 * lease.ms
        connection.execute(sa.update(nodes).where(others, too_long).values(freed))
        holders = connection.execute(sa.select(nodes.c.lease_owner).distinct().where(others))
        for holder in [name for name in holders.scalars() if lease.owner.is_dead(name)]:
            connection.execute(
                sa.update(nodes)
                .where(nodes.c.cluster == cluster, nodes.c.lease_owner == holder)
                .values(freed)
            )


def _later(until: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """That, unless the node is unsettled for longer."""
    return sa.case((until > nodes.c.unsettled_until, until), else_=nodes.c.unsettled_until)


def _these(cluster: str, names: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.and_(nodes.c.cluster == cluster, nodes.c.node.in_(names))
