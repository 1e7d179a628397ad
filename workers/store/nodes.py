"""Each node's row in the store: the highest generation wins, one worker acts at a time.

Leases run on the store's own clock. That clock may step: a lease that seems to run for longer than any
lease does counts as ended, and none that is read seems to run for longer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from schemas.commands import Desired, PowerCommand
from workers.store import desired_state
from workers.store.database import among, store_clock
from workers.store.lease_owner import Lease
from workers.store.tables import holds, nodes


@dataclass(frozen=True, slots=True)
class DesiredRow:
    """A node's row.

    Attributes:
        request_id: of the request that raised it to this generation.
        lease_owner: who may act on the node, if anybody.
        lease_left: seconds that the lease still runs; not above 0 where it has ended.
        unsettled_left: seconds in which a call may still take effect whose answer was lost; what is
            listed before ends nothing.
        boot_age: seconds since a call last booted the node, or may have (its worker was killed), by the
            store's clock; 0 while that clock is up to ten minutes before it; None if unknown.
        held: why the node is on hold, or None.
        booted: the generation under which a call last booted the node.
        boot_from: slurmctld waits for a boot under this generation or a later one.
        off_asked: the generation of Slurm's newest request to power it off that was not acted upon.
        boot_due: whether the node must boot before slurmctld takes it, though its server may run.
    """

    node: str
    desired: Desired
    generation: int
    request_id: str
    server_id: str | None
    lease_owner: str | None
    lease_left: float
    unsettled_left: float = 0.0
    boot_age: float | None = None
    held: str | None = None
    booted: int = 0
    boot_from: int = 0
    off_asked: int = 0
    boot_due: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "boot_due", self.booted < self.boot_from)


class NodeTable:
    """The rows of a cluster's nodes, as one worker uses them; all methods are called in a transaction.

    `lease` is how the worker owns nodes.
    """

    def __init__(self, store: sa.Engine, cluster: str, lease: Lease) -> None:
        dialect = store.dialect.name
        self._cluster = cluster
        self._lease = lease
        self._locks = dialect == "postgresql"
        self._clock = clock = store_clock(dialect)
        self._raise_statement = desired_state.raised(dialect)
        self._missed_statement = desired_state.missed_suspends(cluster)
        self._these = sa.and_(nodes.c.cluster == cluster, among(dialect, nodes.c.node))
        self._mine = nodes.c.lease_owner == lease.owner.name
        self._lasts_until = clock + int(lease.seconds * 1000)
        self._settled = clock + int(lease.settling * 1000)
        theirs = sa.and_(nodes.c.lease_owner.is_not(None), sa.not_(self._mine))
        # Whoever did not give its lease up may be calling, if the store's clock was set forward. A
        # longer time was written before that clock was set back.
        self._unsettled = sa.case(
            (sa.or_(theirs, nodes.c.unsettled_until > self._settled), self._settled),
            else_=nodes.c.unsettled_until,
        )
        # it may have booted the node, or created a server to deploy it, and not have said so
        creates = sa.and_(theirs, nodes.c.desired == str(Desired.READY))
        self._maybe_booted = {
            "booted_at": sa.case((theirs, clock), else_=nodes.c.booted_at),
            "booted": sa.case((creates, nodes.c.generation), else_=nodes.c.booted),
        }
        self._higher = {
            "booted": desired_state.booted(dialect, cluster),
            "reached": desired_state.reached(cluster),
            "off_asked": desired_state.off_asked(dialect, cluster),
        }
        self._seen = desired_state.observed(cluster)
        self._read = desired_state.rows(dialect).where(self._these)

    def accept(
        self, connection: sa.Connection, commands: Sequence[PowerCommand], now: int
    ) -> dict[str, DesiredRow]:
        """Raise desired states, and take the nodes' leases where they are free.

        There may be several `commands` for one node, in any order; `now` is by the hooks' clock, in ns.

        Returns:
            The rows as they are now, by node; ours are those with our name as lease_owner.
        """
        if not commands:
            return {}
        highest: dict[str, PowerCommand] = {}
        for command in sorted(commands, key=lambda command: -command.generation):
            highest.setdefault(command.node, command)
        names = sorted(highest)
        raised = [self._raised(highest[name], now) for name in names]
        connection.execute(self._raise_statement, raised)
        self._note_missed_suspends(connection, commands)
        self._free_the_dead(connection, names)
        free = sa.or_(nodes.c.lease_owner.is_(None), self._mine, nodes.c.lease_until < self._clock)
        taken = {"lease_owner": self._lease.owner.name, "lease_until": self._lasts_until}
        taken |= {"unsettled_until": self._unsettled, **self._maybe_booted}
        self._update(connection, names, free, taken)
        return self.read(connection, names)

    def note_power_offs(self, connection: sa.Connection, commands: Sequence[PowerCommand]) -> None:
        """Note Slurm's requests to power nodes off that are not acted upon now.

        They wait for a snapshot, or have ended because Slurm has taken the node back. No older request
        may boot the node, and a boot that a newer one waits for is one after them.
        """
        in_order = sorted(commands, key=lambda command: command.generation)
        self._set_each(connection, "off_asked", {one.node: one.generation for one in in_order})
        self._note_missed_suspends(connection, in_order)

    def _raised(self, command: PowerCommand, now: int) -> dict[str, object]:
        # slurmctld waits for a boot until the expiry
        waits = command.is_slurms_boot and (command.expiry or 0) >= now
        return {
            "cluster": self._cluster,
            "node": command.node,
            "desired": str(command.desired),
            "generation": command.generation,
            "request_id": command.id,
            "boot_from": command.generation if waits else 0,
        }

    def _note_missed_suspends(
        self, connection: sa.Connection, commands: Sequence[PowerCommand]
    ) -> None:
        """A suspend that a resume has overtaken: the boot that is due is one after it."""
        missed = [
            {"which": command.node, "below": command.generation}
            for command in commands
            if command.is_slurms_power_off
        ]
        if missed:
            connection.execute(self._missed_statement, missed)

    def read(self, connection: sa.Connection, names: Sequence[str]) -> dict[str, DesiredRow]:
        """The rows of these nodes."""
        lease, rows = self._lease, {}
        for row in connection.execute(self._read, {"values": names}):
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

    def changed(self, connection: sa.Connection, known: Mapping[str, int]) -> list[str]:
        """The nodes, of ours with these generations, that another process has touched.

        It has raised them, taken them over, or put them on hold.
        """
        ours = nodes.c.cluster == self._cluster, self._mine
        query = sa.select(nodes.c.node, nodes.c.generation).where(*ours)
        touched = known.items() - {(node, now) for node, now in connection.execute(query)}
        held = connection.scalars(sa.select(holds.c.node).where(holds.c.cluster == self._cluster))
        return sorted({node for node, _ in touched} | (known.keys() & set(held)))

    def lock(self, connection: sa.Connection, names: Sequence[str]) -> dict[str, DesiredRow]:
        """The rows of these nodes, which nobody else changes before the transaction ends.

        A row that another worker adds meanwhile is not among them, and must not be touched: it would
        be locked out of order.
        """
        return self.read(connection, self._lock(connection, self._these, names))

    def renew(self, connection: sa.Connection, names: Iterable[str]) -> None:
        """Extend our leases of these nodes; one that another worker has taken stays taken."""
        self._update(connection, names, self._mine, {"lease_until": self._lasts_until})

    def release(self, connection: sa.Connection, names: Iterable[str]) -> None:
        """Give leases up."""
        self._update(connection, names, self._mine, {"lease_owner": None, "lease_until": 0})

    def mark_unsettled(self, connection: sa.Connection, names: Iterable[str]) -> None:
        """Note that a call that was sent just now may still take effect."""
        self._update(connection, names, sa.true(), {"unsettled_until": _later(self._settled)})

    def mark_booted(self, connection: sa.Connection, booted: Mapping[str, int]) -> None:
        """Note the generation under which a call has booted each of these nodes."""
        self._set_each(connection, "booted", booted)

    def mark_reached(self, connection: sa.Connection, reached: Mapping[str, int]) -> None:
        """Note the generation that each of these nodes has reached."""
        self._set_each(connection, "reached", reached)

    def observe(
        self, connection: sa.Connection, seen: Mapping[str, tuple[str | None, str]], at: int
    ) -> None:
        """Keep each node's server and status, for operators and for the next action.

        `at` in ns since the epoch. Without a server, the last known one stays.
        """
        rows = [
            {"which": node, "server": server, "status": status, "at": at}
            for node, (server, status) in sorted(seen.items())
        ]
        if rows:
            connection.execute(self._seen, rows)

    def _set_each(self, connection: sa.Connection, column: str, values: Mapping[str, int]) -> None:
        if values:
            rows = [{"which": name, "value": value} for name, value in sorted(values.items())]
            connection.execute(self._higher[column], rows)

    def _update(
        self,
        connection: sa.Connection,
        names: Iterable[str],
        where: sa.ColumnElement[bool],
        values: Mapping[str, object],
    ) -> None:
        if listed := sorted(names):
            which = sa.and_(self._these, where)
            self._lock(connection, which, listed)
            statement = sa.update(nodes).where(which).values(values)
            connection.execute(statement, {"values": listed})

    def _lock(
        self, connection: sa.Connection, which: sa.ColumnElement[bool], names: Sequence[str] = ()
    ) -> Sequence[str]:
        """Lock rows in one order for everybody, so that no two workers wait in a circle.

        SQLite needs nothing for it: its writers begin one after the other.

        Returns:
            The nodes whose rows are locked.
        """
        if not self._locks:
            return names
        # Python's order of strings, not a locale's
        order = nodes.c.node.collate("C")
        query = sa.select(nodes.c.node).where(which).order_by(order).with_for_update()
        return connection.scalars(query, {"values": list(names)}).all()

    def _free_the_dead(self, connection: sa.Connection, names: Sequence[str]) -> None:
        """Free what killed workers held, on all nodes; calls that they sent may still take effect.

        Also free what seems to be leased for longer than a lease lasts: the store's clock was set
        back, and its holder, which renews four times in a lease, has not renewed since.
        """
        others = sa.and_(
            self._these,
            nodes.c.lease_owner.is_not(None),
            nodes.c.lease_owner != self._lease.owner.name,
        )
        leased = sa.select(nodes.c.lease_owner, sa.func.max(nodes.c.lease_until) - self._clock)
        holders = connection.execute(
            leased.where(others).group_by(nodes.c.lease_owner), {"values": names}
        ).all()
        # no call outlasts the lease that it was made under
        until = sa.case(
            (nodes.c.lease_until < self._settled, nodes.c.lease_until), else_=self._settled
        )
        freed = {"lease_owner": None, "lease_until": 0, "unsettled_until": _later(until)}
        freed |= self._maybe_booted
        longest = int(2000 * self._lease.seconds)
        for holder, left in holders:
            whose = nodes.c.cluster == self._cluster, nodes.c.lease_owner == holder
            if self._lease.owner.is_dead(holder):
                connection.execute(sa.update(nodes).where(*whose).values(freed))
            elif left > longest:
                too_long = nodes.c.lease_until > self._clock + longest
                self._update(connection, names, sa.and_(whose[1], too_long), freed)


def _later(until: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """That, unless the node is unsettled for longer."""
    return sa.case((until > nodes.c.unsettled_until, until), else_=nodes.c.unsettled_until)
