"""The jobs of failed boots: let begin at once where they were requeued, told of where they ended."""

import time
from collections.abc import Sequence

import structlog

from workers.broker.link import Delivery, Link
from workers.slurm.decide import SlurmUpdate
from workers.slurm.job_events import JobEvents
from workers.slurm.requeued import PATIENCE, Requeued, failed, look
from workers.slurm.scontrol import Slurm


class FailedJobs:
    """Waits for what becomes of them; true while there are any.

    Args:
        slurm: is asked, and told to let them begin.
        link: takes acknowledgements of what was on their behalf.
        herald: tells of those that have ended.
    """

    def __init__(self, slurm: Slurm, link: Link, herald: JobEvents) -> None:
        self._slurm = slurm
        self._link = link
        self._herald = herald
        self._requeued: list[Requeued[Delivery]] = []
        self._log = structlog.get_logger()

    def __bool__(self) -> bool:
        return bool(self._requeued)

    def wait_for(self, actions: Sequence[SlurmUpdate], deliveries: Sequence[Delivery] = ()) -> None:
        """Wait for the jobs of these actions; only then acknowledge the deliveries."""
        jobs = frozenset().union(*(action.jobs for action in actions))
        nodes = frozenset(action.node for action in actions)
        until = time.monotonic() + PATIENCE
        self._requeued.append(Requeued(jobs, nodes, until, tuple(deliveries), tuple(actions)))

    def see_to(self) -> None:
        """Look once.

        Raises:
            SlurmAwayError: slurmctld does not answer.
            BrokerError: the broker has not taken what is to be told.
        """
        jobs = self._slurm.jobs(frozenset().union(*(r.jobs for r in self._requeued)))
        ended = {
            job_id: end
            for requeued in self._requeued
            for job_id, end in failed(requeued, jobs).items()
        }
        self._herald.fail(ended)
        looked = [look(requeued, jobs) for requeued in self._requeued]
        lift = frozenset().union(*(lifted for lifted, _ in looked))
        if lift:
            self._slurm.start_now(lift)
            self._log.info("jobs_let_go", jobs=sorted(lift))
        now = time.monotonic()
        still = [requeued for _, requeued in looked]
        done = [requeued for requeued in still if not requeued.jobs or now >= requeued.until]
        self._requeued = [requeued for requeued in still if requeued not in done]
        self._link.ack([delivery for requeued in done for delivery in requeued.deliveries])
