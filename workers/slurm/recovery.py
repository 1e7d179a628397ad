"""What a predecessor that died has left undone: jobs that it has ended and perhaps not told of."""

import sqlalchemy as sa

from workers.slurm import node_memory
from workers.slurm.decide import SlurmUpdate, UpdateKind
from workers.slurm.nodes import FAILED
from workers.slurm.requeued import on_node
from workers.slurm.scontrol import Slurm
from workers.store.database import reading


def left_behind(store: sa.Engine, slurm: Slurm, cluster: str) -> list[SlurmUpdate]:
    """The nodes that Slurm was told of, with the jobs that have ended on them.

    Nodes that were given back have no delivery behind them that would come again. What is told of twice folds.

    Raises:
        SlurmAwayError, sqlalchemy.exc.DBAPIError: it cannot be asked.
    """
    with reading(store) as connection:
        known = node_memory.recall_all(connection, cluster)
    if not known:
        return []
    found = slurm.jobs_left_by(known.keys() & slurm.nodes().keys())
    ended = {job_id: job for job_id, job in found.items() if job.state in FAILED}
    return [
        SlurmUpdate(UpdateKind.STANDS, node, "told by a predecessor", entry.reason, jobs=jobs)
        for node, entry in known.items()
        if (jobs := on_node(node, ended))
    ]
