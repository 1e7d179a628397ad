"""Finds the generations that lie in the future, and lowers them, for `lamplighter clock`.

The generations that are lowered keep their order among themselves and above all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Table

from schemas.snapshot import parse_snapshot
from workers.store.database import upsert
from workers.store.tables import (
    clock_resets,
    feedback,
    group_images,
    listings,
    nodes,
    requests,
    snapshots,
)

# The columns that order what comes later. Snapshots and listings are handled apart.
_ORDERED: Mapping[Table, Sequence[str]] = {
    nodes: ("generation", "reached", "booted", "boot_from", "off_asked"),
    requests: ("generation",),
    group_images: ("generation",),
    feedback: ("generation",),
}
# Older than anything: such a snapshot confirms nothing, and nothing is repaired by it.
_OLDEST = 1
# In ns; the clocks of hosts that are synchronised differ by less.
CLOCKS_DIFFER = 5_000_000_000


@dataclass(frozen=True, slots=True)
class ClockLimit:
    """The highest plausible generation; and whether a reset has made those above it worthless."""

    until: int
    is_after_reset: bool = False


def highest(connection: sa.Connection, cluster: str) -> int:
    """The highest generation in the store; 0 if there is none."""
    columns = [table.c[name] for table, names in _ORDERED.items() for name in names]
    columns += [snapshots.c.generation, listings.c.generation]
    found = (
        connection.scalar(sa.select(sa.func.max(column)).where(column.table.c.cluster == cluster))
        for column in columns
    )
    return max(generation or 0 for generation in found)


def open_rounds_after(connection: sa.Connection, cluster: str, now: int) -> int:
    """The number of requests in progress that have a generation above `now`."""
    query = sa.select(sa.func.count()).where(
        requests.c.cluster == cluster,
        # decided_at has an index, outcome has none
        requests.c.decided_at.is_(None),
        requests.c.generation > now,
    )
    return connection.execute(query).scalar_one()


def lower(connection: sa.Connection, cluster: str, now: int) -> int:
    """Lower every generation above `now` (ns since the epoch).

    No worker that orders by generations may run.

    Returns:
        The highest generation in the store afterwards, or `now`.
    """
    future = {table: _future_rows(connection, table, cluster, now) for table in _ORDERED}
    values = sorted(
        {
            row[name]
            for table, rows in future.items()
            for row in rows
            for name in _ORDERED[table]
            if row[name] > now
        }
    )
    lowered = {old: now + rank for rank, old in enumerate(values, 1)}
    for table, rows in future.items():
        _rewrite(connection, table, rows, lowered)
    seen_later = sa.and_(nodes.c.cluster == cluster, nodes.c.observed_at > now)
    connection.execute(sa.update(nodes).where(seen_later).values(observed_at=now))
    _age_snapshot(connection, cluster, now)
    return now + len(values)


def refuse_stamped_before(
    connection: sa.Connection, cluster: str, now: int, stamped_until: int
) -> None:
    """From now on, refuse what was stamped before a reset and still arrives from the future.

    `stamped_until` is the highest generation that may have been stamped; `now` is in ns since the
    epoch.
    """
    row = {"cluster": cluster, "stamped_until": stamped_until, "reset_at": now}
    connection.execute(upsert(connection.dialect.name, clock_resets), row)


def is_after_reset(connection: sa.Connection, cluster: str, now: int) -> bool:
    """Whether the time has not yet reached what was stamped before a reset of the clock."""
    query = sa.select(clock_resets.c.stamped_until).where(clock_resets.c.cluster == cluster)
    return now < (connection.scalar(query) or 0)


def clock_limit(connection: sa.Connection, cluster: str, ahead: float, now: int) -> ClockLimit:
    """Up to where generations are plausible: `ahead` seconds above the time, or the hooks' clock.

    Its file keeps a time that was too late, and the store shows how far it has come: what is stamped
    next follows that. Until the time has reached what was stamped before a reset, a generation may
    be ahead only as far as clocks differ: a message that arrives now from before the reset must not
    overtake a newer one.
    """
    if is_after_reset(connection, cluster, now):
        return ClockLimit(now + min(int(ahead * 1e9), CLOCKS_DIFFER), is_after_reset=True)
    come = [now]
    for table in (nodes, snapshots):
        highest_of = sa.select(sa.func.max(table.c.generation)).where(table.c.cluster == cluster)
        come.append(connection.scalar(highest_of) or 0)
    return ClockLimit(max(come) + int(ahead * 1e9))


def _future_rows(
    connection: sa.Connection, table: Table, cluster: str, now: int
) -> Sequence[sa.RowMapping]:
    columns = [table.c[name] for name in _ORDERED[table]]
    is_future = sa.or_(*(column > now for column in columns))
    query = sa.select(*table.primary_key, *columns).where(table.c.cluster == cluster, is_future)
    return connection.execute(query).mappings().all()


def _rewrite(
    connection: sa.Connection,
    table: Table,
    rows: Sequence[sa.RowMapping],
    lowered: Mapping[int, int],
) -> None:
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    names = _ORDERED[table]
    statement = (
        sa.update(table)
        .where(*(table.c[key] == sa.bindparam(f"key_{key}") for key in keys))
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )
    connection.execute(
        statement,
        [
            {f"key_{key}": row[key] for key in keys}
            | {f"new_{name}": lowered.get(row[name], row[name]) for name in names}
            for row in rows
        ],
    )


def _age_snapshot(connection: sa.Connection, cluster: str, now: int) -> None:
    """A snapshot from the future counts as older than everything; its listings are made again."""
    connection.execute(
        sa.delete(listings).where(listings.c.cluster == cluster, listings.c.generation > now)
    )
    is_future = sa.and_(snapshots.c.cluster == cluster, snapshots.c.generation > now)
    body = connection.scalar(sa.select(snapshots.c.body).where(is_future))
    if body is not None:
        aged = replace(parse_snapshot(body), generation=_OLDEST)
        connection.execute(
            sa.update(snapshots)
            .where(is_future)
            .values(generation=_OLDEST, body=aged.to_envelope().to_json())
        )
