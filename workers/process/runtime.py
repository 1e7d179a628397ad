"""What every worker process does around its work: logs, store, signals, a sign of life."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
import structlog
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAccessDeniedError
from prometheus_client import CollectorRegistry

from producers.amqp import connection_parameters
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.config.settings import Settings
from workers.process.logs import configure_logs
from workers.process.metrics_endpoint import serving
from workers.store import heartbeats
from workers.store.database import open_store

_ACCESS_REFUSED = 403


@dataclass(slots=True)
class Runtime:
    """A running worker process.

    Attributes:
        role: power, tokens, audit, slurm, notify.
        name: unique among all workers.
        stop: set by SIGTERM and SIGINT.
        state: one line for `lamplighter status`; the worker writes it.
        registry: of the figures that the process shows.
    """

    settings: Settings
    role: str
    name: str
    store: sa.Engine
    stop: threading.Event = field(default_factory=threading.Event)
    state: str = "starting"
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


@contextmanager
def runtime(role: str, settings: Settings) -> Iterator[Runtime]:
    """Set the process up; on leaving, take its sign of life away.

    Raises:
        sqlalchemy.exc.OperationalError: the store cannot be reached.
    """
    configure_logs(settings.log, role=role, cluster=settings.cluster)
    store = open_store(settings.store.url, "state")
    name = f"{role}@{socket.gethostname()}:{os.getpid()}"
    run = Runtime(settings=settings, role=role, name=name, store=store)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: run.stop.set())
    beat = threading.Thread(target=_beat, args=(run, time.time_ns()), name="sign-of-life")
    beat.start()
    structlog.get_logger().info("worker_started", name=name)
    try:
        with serving(settings.metrics, role, run.registry):
            yield run
    finally:
        run.stop.set()
        beat.join()
        store.dispose()
        structlog.get_logger().info("worker_stopped", name=name)


def declare_topology(run: Runtime) -> None:
    """Put the topology in place, waiting for the broker as long as it takes.

    A user without the right to configure leaves it to whoever may (`lamplighter topology apply`).
    """
    log = structlog.get_logger()
    parameters = connection_parameters(run.settings.broker, f"{run.name} topology")
    wait = 0.2
    while not run.stop.is_set():
        try:
            with blocking_channel(parameters) as channel:
                wanted = topology.topology(notify_keys=run.settings.notify_keys)
                topology.apply(channel, wanted)
        except ChannelClosedByBroker as error:
            if error.reply_code == _ACCESS_REFUSED:
                log.info("topology_left_to_the_administrator")
                return
            log.error(  # noqa: TRY400 - the reply says it all
                "topology_differs", reply=error.reply_text, remedy="lamplighter topology check"
            )
        except ProbableAccessDeniedError:
            log.error("broker_refused_login", remedy="check broker.url and broker.password_file")  # noqa: TRY400
        except (AMQPError, OSError) as error:
            log.warning("broker_away", error=type(error).__name__)
        else:
            return
        run.stop.wait(wait)
        wait = min(wait * 2, 5.0)


def _beat(run: Runtime, started: int) -> None:
    cluster, host, pid = run.settings.cluster, socket.gethostname(), os.getpid()
    while True:
        stopping = run.stop.wait(heartbeats.EVERY_SECONDS if run.state != "starting" else 0.2)
        now = time.time_ns()
        try:
            with run.store.begin() as connection:
                if stopping:
                    heartbeats.take_away(connection, cluster, run.name)
                else:
                    sign = heartbeats.Heartbeat(
                        run.role, run.name, host, pid, started, now, run.state
                    )
                    heartbeats.write(connection, cluster, sign)
        except sa.exc.SQLAlchemyError as error:
            structlog.get_logger().warning("sign_of_life_failed", error=type(error).__name__)
        if stopping:
            return
