"""`lamplighter worker resync`: without credentials of any cloud, on any host that reaches the store."""

import queue
from typing import TYPE_CHECKING

from workers.broker import topology
from workers.config.settings import Settings
from workers.process.runtime import declare_topology, runtime
from workers.resync.worker import ResyncWorker

if TYPE_CHECKING:
    from workers.broker.delivery import Delivery

_PREFETCH = 100


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT.

    Raises:
        sqlalchemy.exc.OperationalError: the store cannot be reached at the start.
    """
    with runtime("resync", settings) as run:
        declare_topology(run)
        deliveries: queue.Queue[Delivery] = queue.Queue()
        link = run.open_link({topology.SNAPSHOT_QUEUE: _PREFETCH}, deliveries.put)
        worker = ResyncWorker(run, link, deliveries)
        link.start()
        try:
            while run.stop.next_turn():
                worker.turn()
        finally:
            link.stop()
    return 0
