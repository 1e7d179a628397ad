"""The statements that raise nodes' desired states: upsert if greater, and note which boots are due."""

import sqlalchemy as sa

from schemas.commands import Desired
from workers.store.database import insert
from workers.store.tables import nodes


def raised(dialect: str) -> sa.Insert:
    """Upsert-if-greater.

    slurmctld resumes only a node that it holds to be powered down, and then ignores a slurmd whose
    boot is older than its request (facts of Slurm 22.05 to 24.11): a server that still runs, because
    a suspend was late or lost, must boot. A second resume of a boot that is under way needs no other.
    """
    statement = insert(dialect, nodes)
    new = statement.excluded
    same_boot = sa.and_(
        nodes.c.desired == str(Desired.UP),
        nodes.c.reached < nodes.c.generation,
        nodes.c.boot_from > 0,
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


def missed_suspends(cluster: str) -> sa.Update:
    """Note suspends (parameters `which`, `below`) that a resume has overtaken."""
    below = sa.bindparam("below", type_=sa.BigInteger)
    overtaken = sa.and_(
        nodes.c.cluster == cluster,
        nodes.c.node == sa.bindparam("which"),
        nodes.c.desired == str(Desired.UP),
        nodes.c.generation > below,
        nodes.c.reached < nodes.c.generation,
        nodes.c.boot_from.between(1, below),
    )
    return sa.update(nodes).where(overtaken).values(boot_from=below)
