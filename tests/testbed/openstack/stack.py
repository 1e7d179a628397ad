"""All processes of one cloud, in the order of their start."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Self

import pika
import pika.exceptions

from tests.testbed.broker import PrivateBroker
from tests.testbed.openstack import services
from tests.testbed.openstack.configuration import Tokens, write_configuration
from tests.testbed.openstack.database import Database
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from tests.testbed.openstack.layout import Layout


COMPUTE_QUEUE = "compute.compute1"


class Stack:
    """Use as a context manager: it starts database and broker, and at the end stops everything."""

    def __init__(self, layout: Layout, tokens: Tokens | None = None) -> None:
        self._layout = layout
        self._tokens = tokens or Tokens()
        self._exits = ExitStack()
        self._keystone = services.keystone(layout)

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._layout.make_folders()
            self._broker = exits.enter_context(closing(PrivateBroker(self._layout.folder / "mq")))
            login = f"{self._broker.admin.name}:{self._broker.admin.password}"
            url = f"rabbit://{login}@{self._broker.host}:{self._broker.port}/"
            self._broker_url = url
            write_configuration(self._layout, url, self._tokens)
            # The broker takes seconds; meanwhile the database starts. Nova waits for the broker by itself.
            starter = exits.enter_context(ThreadPoolExecutor(1))
            self._broker_up: Future[None] = starter.submit(self._broker.start)
            self.database = Database(self._layout)
            exits.callback(self.database.stop)
            self.services = exits.enter_context(services.Services(self._layout))
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def start_identity(self) -> None:
        """Start only Keystone and wait for it."""
        self.services.start([self._keystone])
        self.services.wait([self._keystone])

    def start_all(self) -> None:
        """Start all services that do not run yet, and wait until they answer.

        Raises:
            RuntimeError: A process has ended; the message holds the end of its log.
            TimeoutError: A service does not answer.
        """
        layout = self._layout
        programs = [self._keystone, *services.apis(layout), services.oidc(layout)]
        programs.append(services.apache(layout))
        running = self.services.children()
        self.services.start(program for program in programs if program.name not in running)
        self._broker_up.result()
        self.services.start([services.conductor(layout), services.scheduler(layout)])
        # Without a conductor, a compute node waits 10 s before it tries again.
        self._await_consumer("conductor")
        self.services.start([services.compute(layout)])
        self.services.wait(programs)
        self._await_consumer("scheduler")
        self._await_consumer(COMPUTE_QUEUE)

    def restart_identity(self, tokens: Tokens) -> None:
        """Restart Keystone with other lifetimes for new tokens."""
        write_configuration(self._layout, self._broker_url, tokens)
        self.services.kill(self._keystone.name)
        self.start_identity()

    def restart_compute(self) -> None:
        """Kill nova-compute, as a power failure would, and start it again."""
        self.services.kill("nova-compute")
        # Wait until the broker has noticed; otherwise it would still show the old process.
        until(lambda: not self._has_consumer(COMPUTE_QUEUE), 30.0, "the end of nova-compute")
        self.services.start([services.compute(self._layout)])
        self._await_consumer(COMPUTE_QUEUE)

    def _await_consumer(self, queue: str) -> None:
        """Wait until a daemon of Nova consumes messages, the only sign that it is ready."""
        until(
            lambda: self._has_consumer(queue),
            services.START_TIMEOUT_SECONDS,
            f"a consumer of Nova's queue {queue!r}",
        )

    def _has_consumer(self, queue: str) -> bool:
        self.services.require_running()
        # Asking for a missing queue over AMQP would leave warnings in the log.
        if queue not in self._broker.api.depths("/"):
            return False
        parameters = pika.URLParameters(self._broker.amqp_url("/"))
        with pika.BlockingConnection(parameters) as connection:
            try:
                declared = connection.channel().queue_declare(queue, passive=True)
            except pika.exceptions.ChannelClosedByBroker:
                return False
            return bool(declared.method.consumer_count)
