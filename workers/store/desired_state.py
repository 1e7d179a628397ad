"""The statements that raise and read nodes' desired states, and that note of each what became of it."""

from typing import Any

import sqlalchemy as sa

from schemas.commands import Desired
from workers.store.database import insert, store_clock
from workers.store.tables import holds, nodes, requests

# How long (ms) a boot from the future, which the store's clock was set back from, counts as one of now.
_SET_BACK = 600_000


def raised(dialect: str) -> sa.Insert:
    """Upsert-if-greater.

    slurmctld resumes only a node that it holds to be powered down, and then ignores a slurmd whose
    boot is older than its request (facts of Slurm 22.05 to 24.11): a server that still runs, because
    a suspend was late or lost, must boot. A second resume of a boot that is under way needs no other, unless
    slurmctld has asked in between to power the node off.
    """
    statement = insert(dialect, nodes)
    new = statement.excluded
    same_boot = sa.and_(
        nodes.c.desired == str(Desired.UP),
        nodes.c.reached < nodes.c.generation,
        nodes.c.boot_from > 0,
        # slurmctld has not asked since to power the node off
        nodes.c.boot_from >= nodes.c.off_asked,
    )
    keeps = sa.or_(new.boot_from == 0, same_boot)
    return statement.on_conflict_do_update(
        index_elements=[nodes.c.cluster, nodes.c.node],
        set_={
            "boot_from": sa.case((keeps, nodes.c.boot_from), else_=new.boot_from),
            **{name: new[name] for name in ("desired", "generation", "request_id")},
        },
        where=new.generation > nodes.c.generation,
    )


def rows(dialect: str) -> sa.Select[Any]:
    """What a `DesiredRow` holds, in its order; times in ms, and the age of the last boot in seconds."""
    clock = store_clock(dialect)
    age = sa.cast(clock - nodes.c.booted_at, sa.Float) / 1000
    on_hold = sa.and_(holds.c.cluster == nodes.c.cluster, holds.c.node == nodes.c.node)
    return sa.select(
        *(nodes.c[name] for name in ("node", "desired", "generation", "request_id")),
        *(nodes.c.server_id, nodes.c.lease_owner),
        nodes.c.lease_until - clock,
        nodes.c.unsettled_until - clock,
        # a clock that was set back knows no age, but the node may have booted just now
        sa.case(
            (nodes.c.booted_at.between(1, clock), age),
            (nodes.c.booted_at.between(clock, clock + _SET_BACK), sa.literal(0.0)),
        ),
        holds.c.reason,
        *(nodes.c.booted, nodes.c.boot_from, nodes.c.off_asked),
    ).select_from(nodes.outerjoin(holds, on_hold))


def off_asked(dialect: str, cluster: str) -> sa.Insert:
    """Note Slurm's request to power each node (parameter `which`) off: its generation is `value`.

    A node that had no request yet gets a row of generation 0, which any request raises.
    """
    statement = insert(dialect, nodes).values(
        cluster=cluster,
        node=sa.bindparam("which"),
        desired=str(Desired.DOWN),
        generation=0,
        request_id="",
        off_asked=sa.bindparam("value", type_=sa.BigInteger),
    )
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[nodes.c.cluster, nodes.c.node],
        set_={"off_asked": new.off_asked},
        where=new.off_asked > nodes.c.off_asked,
    )


def missed_suspends(cluster: str) -> sa.Update:
    """Note suspends (parameters `which`, `below`) that a resume has overtaken."""
    below = sa.bindparam("below", type_=sa.BigInteger)
    overtaken = sa.and_(
        nodes.c.desired == str(Desired.UP),
        nodes.c.generation > below,
        nodes.c.reached < nodes.c.generation,
        nodes.c.boot_from.between(1, below),
    )
    return _each(cluster).where(overtaken).values(boot_from=below)


def boots(dialect: str, cluster: str, owner: str) -> sa.Select[Any]:
    """The boots that other workers wait for, or that wait in a retry tier, and those that are over.

    Of each the node, the seconds since the call that boots it, and whether it has completed.
    """
    is_over = nodes.c.reached >= nodes.c.generation
    same = requests.c.cluster == nodes.c.cluster, requests.c.request_id == nodes.c.request_id
    is_open = sa.exists().where(*same, requests.c.outcome.is_(None))
    is_ours = sa.and_(nodes.c.lease_owner == owner, sa.not_(is_over))
    age = sa.cast(store_clock(dialect) - nodes.c.booted_at, sa.Float) / 1000
    return sa.select(nodes.c.node, age, is_over).where(
        nodes.c.cluster == cluster,
        nodes.c.desired == str(Desired.UP),
        nodes.c.booted == nodes.c.generation,
        sa.or_(is_over, is_open),
        sa.or_(nodes.c.lease_owner.is_(None), sa.not_(is_ours)),
    )


def reached(cluster: str) -> sa.Update:
    """Note that each node (parameter `which`) has reached the generation `value`."""
    value = sa.bindparam("value", type_=sa.BigInteger)
    return _each(cluster).where(nodes.c.reached < value).values(reached=value)


def booted(dialect: str, cluster: str) -> sa.Update:
    """Note that a call has booted each node (parameter `which`) now, under the generation `value`."""
    value = sa.bindparam("value", type_=sa.BigInteger)
    higher = sa.case((nodes.c.booted < value, value), else_=nodes.c.booted)
    return _each(cluster).values(booted=higher, booted_at=store_clock(dialect))


def observed(cluster: str) -> sa.Update:
    """Keep the `status` and the `server` of each node (parameter `which`), as seen `at` that time."""
    return _each(cluster).values(
        server_id=sa.func.coalesce(sa.bindparam("server"), nodes.c.server_id),
        observed=sa.bindparam("status"),
        observed_at=sa.bindparam("at", type_=sa.BigInteger),
    )


def _each(cluster: str) -> sa.Update:
    return sa.update(nodes).where(nodes.c.cluster == cluster, nodes.c.node == sa.bindparam("which"))
