"""Sets up a worker process: logs, store, signals, metrics and heartbeat."""

import faulthandler
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry

from producers.amqp import connection_parameters
from workers.broker.backoff import Backoff
from workers.broker.blocking import blocking_channel
from workers.broker.declare import declare
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.broker.sender_check import SenderCheck
from workers.broker.topology import topology
from workers.config.settings import Settings
from workers.errors import AccessRefusedError, BrokerAwayError, BrokerError, BrokerLoginError
from workers.process.logs import configure_logs
from workers.process.metrics_endpoint import serve_metrics
from workers.process.stop import Stop
from workers.process.systemd import Watchdog, tell_systemd
from workers.store import heartbeats
from workers.store.database import open_store, store_problem

# Objects made and not freed after which Python looks for garbage; its own value is 700.
_COLLECT_AFTER = 10_000


@dataclass(slots=True)
class Runtime:
    """A running worker process with its metrics; its name is unique among all workers.

    SIGTERM and SIGINT set `stop`. The worker sets `state`: one line for `lamplighter status`,
    which also shows the problem of `link`, the worker's connection to the broker. A state made by
    `heartbeats.problem` is wrong there; `trouble` is asked at each heartbeat, for the same; `unserved` says
    why there are no metrics.
    """

    settings: Settings
    role: str
    name: str
    store: sa.Engine
    stop: Stop = field(default_factory=Stop)
    state: str = "starting"
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    link: Link | None = None
    trouble: Callable[[], str | None] = lambda: None
    unserved: str | None = None

    @property
    def status(self) -> str:
        """One line for `lamplighter status`: the problems of the link and the role, and the state."""
        link = self.link.problem if self.link else None
        problem = "; ".join(filter(None, (link, self.trouble(), self.unserved)))
        if not problem:
            return self.state
        return heartbeats.problem(f"{problem}; {self.state.removeprefix(heartbeats.PROBLEM)}")

    def lose_store(self, error: Exception, event: str = "store_away") -> None:
        """Say that the store cannot be used, and why; the log says the same reason once."""
        state = heartbeats.store_away(error)
        if state != self.state:
            structlog.get_logger().warning(event, error=store_problem(error))
        self.state = state

    def open_link(
        self,
        queues: Mapping[str, int],
        on_delivery: Callable[[Delivery], None],
        on_up: Callable[[int], None] | None = None,
    ) -> Link:
        """The worker's link, not yet started; arguments as those of Link.

        It passes only what its sender may say.
        """
        parameters = connection_parameters(self.settings.broker, self.name)
        check = SenderCheck(self.settings, on_delivery)
        self.link = check.link = Link(parameters, queues, check.receive, on_up)
        return self.link


@contextmanager
def runtime(role: str, settings: Settings) -> Iterator[Runtime]:
    """Set up the process; on exit, remove its heartbeat. SIGQUIT writes where each thread is.

    Raises:
        sqlalchemy.exc.OperationalError: the store cannot be reached.
    """
    configure_logs(settings.log, role=role, cluster=settings.cluster)
    store = open_store(settings.store.url, "state")
    name = f"{role}@{socket.gethostname()}:{os.getpid()}"
    run = Runtime(settings=settings, role=role, name=name, store=store)
    run.stop.set_at_signals()
    faulthandler.register(signal.SIGQUIT, file=2)  # names of functions, no values
    beat = threading.Thread(target=_beat, args=(run, time.time_ns()), name="heartbeat")
    beat.start()
    tell_systemd("READY=1")
    structlog.get_logger().info("worker_started", name=name)
    try:
        metrics = serve_metrics(settings.metrics, role, run.registry)
        with metrics as run.unserved, _few_collections():
            yield run
    finally:
        run.stop.set()
        beat.join()
        store.dispose()
        structlog.get_logger().info("worker_stopped", name=name)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Collect garbage seldom, and not among what was imported: it took a tenth of a busy worker's CPU."""
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def declare_topology(run: Runtime) -> None:
    """Declare the topology, and try again until it succeeds or the process is stopped.

    Where each role has a user of its own, only `setup` may: `lamplighter topology apply`.
    """
    if run.settings.broker.users is not None:
        return
    parameters = connection_parameters(run.settings.broker, f"{run.name} topology")
    log, backoff, starting = structlog.get_logger(), Backoff(), run.state
    while not run.stop.is_set():
        try:
            with blocking_channel(parameters) as channel:
                declare(channel, topology(notify_keys=run.settings.notify_keys))
        except AccessRefusedError:
            log.info("topology_left_to_administrator")
            break
        except (BrokerAwayError, BrokerLoginError) as error:
            run.state = heartbeats.problem(f"waits for the broker: {error}")
            log.warning("broker_away", reason=str(error))
        except BrokerError as error:
            run.state = heartbeats.problem(f"cannot declare the topology: {error}")
            remedy = "run lamplighter topology check"
            log.error("topology_not_declared", reason=str(error), remedy=remedy)  # noqa: TRY400 - the reason is enough
        else:
            break
        run.stop.wait(backoff.next())
    run.state = starting


def _beat(run: Runtime, started: int) -> None:
    cluster, host, pid = run.settings.cluster, socket.gethostname(), os.getpid()
    watchdog = Watchdog(run.stop)
    while True:
        stopping = run.stop.wait(heartbeats.INTERVAL_SECONDS if run.state != "starting" else 0.2)
        watchdog.sign()
        now = time.time_ns()
        try:
            with run.store.begin() as connection:
                if stopping:
                    heartbeats.delete_heartbeat(connection, cluster, run.name)
                else:
                    identity = run.role, run.name, host, pid, started
                    beat = heartbeats.Heartbeat(*identity, seen_at=now, state=run.status)
                    heartbeats.write(connection, cluster, beat)
        except sa.exc.SQLAlchemyError as error:
            structlog.get_logger().warning("heartbeat_failed", error=store_problem(error))
        if stopping:
            return
