"""`lamplighter worker resync`: without any cloud's credential, wherever the store is reached."""

from producers.amqp import connection_parameters
from workers.broker import topology
from workers.broker.link import Link
from workers.config.settings import Settings
from workers.process.runtime import declare_topology, runtime
from workers.resync.worker import ResyncWorker

_PREFETCH = 100


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT.

    Raises:
        sqlalchemy.exc.OperationalError: the store cannot be reached at the start.
    """
    with runtime("resync", settings) as run:
        declare_topology(run)
        link = Link(
            connection_parameters(settings.broker, run.name),
            {topology.SNAPSHOT_QUEUE: _PREFETCH},
            on_delivery=lambda delivery: resync.deliver(delivery),  # noqa: PLW0108 - made below
        )
        resync = ResyncWorker(run, link)
        link.start()
        try:
            while not run.stop.is_set():
                resync.turn()
        finally:
            link.stop()
    return 0
