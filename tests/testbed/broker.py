"""RabbitMQ brokers for tests: the common base, and a private broker from the system's package."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import pika
import pika.exceptions
import psutil
import requests

from tests.testbed.management import Management
from tests.testbed.ports import Ports
from tests.testbed.processes import Child
from tests.testbed.rabbitmq_node import SCRIPTS, Node, packaged_version
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

START_TIMEOUT = 60.0


@dataclass(frozen=True)
class User:
    """A broker account."""

    name: str
    password: str = field(repr=False)


class Broker:
    """A running broker on which tests may create vhosts.

    Attributes:
        description: What it is, for reports.
        admin: An administrator with all permissions in every vhost created here.
        management: The HTTP API; None if the broker has none that we may use.
    """

    def __init__(  # noqa: PLR0913 - most are keyword-only
        self,
        host: str,
        port: int,
        admin: User,
        *,
        management: Management | None,
        description: str,
        scheme: str = "amqp",
    ) -> None:
        self.host = host
        self.port = port
        self.admin = admin
        self.management = management
        self.description = description
        self._scheme = scheme

    @property
    def api(self) -> Management:
        """The HTTP API.

        Raises:
            RuntimeError: There is none that we may use.
        """
        if self.management is None:
            raise RuntimeError(f"{self.description} has no management API that we may use")
        return self.management

    @property
    def management_url(self) -> str:
        """The root URL of the management API, such as http://127.0.0.1:15672."""
        return self.api.url

    def amqp_url(self, vhost: str, user: User | None = None) -> str:
        """Return the URL of a vhost for a user (by default the administrator)."""
        who = user or self.admin
        login = f"{quote(who.name, safe='')}:{quote(who.password, safe='')}"
        return f"{self._scheme}://{login}@{self.host}:{self.port}/{quote(vhost, safe='')}"

    def create_vhost(self, vhost: str | None = None) -> str:
        """Create a vhost for the administrator; return its name (random by default)."""
        name = vhost or f"test-{secrets.token_hex(6)}"
        self.api.create_vhost(name)
        self.api.permit(self.admin.name, name, ".*", ".*", ".*")
        return name

    def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost with its content; this closes its connections."""
        self.api.delete_vhost(vhost)

    def add_user(  # noqa: PLR0913 - the broker has three permissions
        self,
        name: str,
        password: str,
        vhost: str,
        *,
        configure: str = "^$",
        write: str = "^$",
        read: str = "^$",
    ) -> User:
        """Create a user with these permissions (regular expressions, by default none)."""
        self.api.put_user(name, password)
        self.api.permit(name, vhost, configure, write, read)
        return User(name, password)

    def ready_messages(self, vhost: str, queue: str) -> int:
        """Return the number of messages that wait in a queue.

        Raises:
            pika.exceptions.ChannelClosedByBroker: The queue does not exist.
        """
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url(vhost)))
        try:
            answer = connection.channel().queue_declare(queue, passive=True)
            return int(answer.method.message_count)
        finally:
            connection.close()

    def accepts_connections(self) -> bool:
        """Whether an AMQP login succeeds now."""
        parameters = pika.URLParameters(self.amqp_url("/"))
        parameters.socket_timeout = parameters.stack_timeout = 2.0
        try:
            # First without pika, which logs ten lines for each refused connection.
            socket.create_connection((self.host, self.port), 2.0).close()
            pika.BlockingConnection(parameters).close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True


class PrivateBroker(Broker):
    """A private rabbitmq-server: on loopback, with its own ports and folders.

    Use as a context manager; `start` may be called again after `stop` or `kill`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        joined: PrivateBroker | None = None,
        plugins: Sequence[str] = (),
    ) -> None:
        """Create the folder and the configuration; start nothing.

        Args:
            folder: For all files of the broker; need not exist.
            settings: More lines of rabbitmq.conf.
            joined: A broker whose cluster this one can join: it shares cookie, port mapper and
                administrator with it, and must be closed before it.
            plugins: More plugins than the management API.

        Raises:
            FileNotFoundError: rabbitmq-server is not installed.
        """
        if not SCRIPTS.is_dir():
            raise FileNotFoundError(f"no {SCRIPTS}: install the package rabbitmq-server")
        self._resources = ExitStack()
        shared = joined.node if joined else None
        ports = self._resources.enter_context(Ports())
        admin = joined.admin if joined else User("admin", secrets.token_urlsafe(18))
        self.node: Node = Node(
            folder,
            amqp=ports.take(),
            web=ports.take(),
            epmd=shared.epmd if shared else ports.take(),
            dist=ports.take(),
            cli=ports.take(),
            cookie=shared.cookie if shared else secrets.token_hex(16),
        )
        self._joined = joined
        web = f"http://127.0.0.1:{self.node.web}"
        management = Management(web, admin.name, admin.password)
        self._resources.callback(management.close)
        super().__init__(
            "127.0.0.1",
            self.node.amqp,
            admin,
            management=management,
            description=f"private rabbitmq-server {packaged_version()}",
        )
        self.folder = folder
        self.data_dir = self.node.data_dir
        self.log = folder / "broker.log"
        self._epmd: Child | None = None
        self._server: Child | None = None
        self._plugins = plugins
        self.configure(settings or {})

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write the configuration, with these additional lines; it counts from the next start."""
        self.node.write(self.admin.name, self.admin.password, settings, self._plugins)

    def start(self) -> None:
        """Start it and wait until it accepts logins (about 4 s).

        Raises:
            RuntimeError: It has ended; the message holds the end of its log.
            TimeoutError: It does not answer.
        """
        self.launch()
        until(self._is_up, START_TIMEOUT, "the private RabbitMQ")

    def is_up_within(self, seconds: float) -> bool:
        """Whether it accepts logins by then."""
        try:
            until(self._is_up, seconds, "the private RabbitMQ")
        except TimeoutError:
            return False
        return True

    def launch(self) -> None:
        """Start it and do not wait; `start` waits for it if it runs."""
        if self._server and self._server.running:
            return
        env = self.node.environment()
        if self._joined is None and (self._epmd is None or not self._epmd.running):
            # As our child, because the epmd that the server starts by itself outlives the server.
            argv = ["epmd", "-port", str(self.node.epmd), "-address", "127.0.0.1"]
            self._epmd = Child(argv, log=self.folder / "epmd.log", env=env)
        self._server = Child([SCRIPTS / "rabbitmq-server"], log=self.log, env=env)

    def stop(self) -> None:
        """Shut it down cleanly."""
        if self._server:
            self._server.stop(grace=30.0)

    def kill(self) -> None:
        """Kill it as `kill -9` does; call `settle` after the last declaration and before this."""
        if self._server:
            self._server.kill()

    def freeze(self) -> None:
        """Stop it with SIGSTOP: it keeps its connections and answers nothing."""
        self.running.send(signal.SIGSTOP)

    @property
    def is_frozen(self) -> bool:
        """Whether it is stopped with SIGSTOP."""
        child = self.running
        return child.running and psutil.Process(child.pid).status() == psutil.STATUS_STOPPED

    @property
    def running(self) -> Child:
        """Its server; RuntimeError if it was never started."""
        if self._server is None:
            raise RuntimeError("the server was never started")
        return self._server

    def refuse(self, *others: PrivateBroker) -> None:
        """Cut the connections to these nodes of the cluster at once, until `accept`."""
        peers = ", ".join(f"'{other.node.name}'" for other in others)
        cut = "erlang:set_cookie(P, cut), erlang:disconnect_node(P)"
        self.ctl("eval", f"[begin {cut} end || P <- [{peers}]].")

    def accept(self, *others: PrivateBroker) -> None:
        """Let these nodes of the cluster connect again."""
        peers = ", ".join(f"'{other.node.name}'" for other in others)
        self.ctl("eval", f"[erlang:set_cookie(P, erlang:get_cookie()) || P <- [{peers}]].")

    def settle(self) -> None:
        """Make the server save its list of quorum queues.

        The server keeps that list in dets tables, which it saves half a second after a change. If
        it is killed before that, a new queue has no leader and has lost its messages for ever,
        although they were confirmed (seen on 3.10.8; one second later they are safe).
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def raise_memory_alarm(self) -> None:
        """Make the broker block all publishers."""
        self.ctl("set_vm_memory_high_watermark", "0.0000001")
        until(self.api.alarmed, 10.0, "the memory alarm")

    def clear_memory_alarm(self) -> None:
        """Undo `raise_memory_alarm`."""
        self.ctl("set_vm_memory_high_watermark", "0.8")
        until(lambda: not self.api.alarmed(), 10.0, "the end of the memory alarm")

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl (about 1 s) and return its output.

        Raises:
            RuntimeError: It failed; the message holds its output.
        """
        argv = [str(SCRIPTS / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(
            argv, env=self.node.environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def pids(self) -> list[int]:
        """Return the pids of the server and of its epmd, if they run."""
        return [child.pid for child in (self._server, self._epmd) if child and child.running]

    def listeners(self) -> list[tuple[str, int]]:
        """Return the address and port of every socket that the server or its epmd listens on."""
        return [
            (connection.laddr.ip, connection.laddr.port)
            for pid in self.pids()
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]

    def close(self) -> None:
        """Kill server and epmd and release the ports; the folder stays."""
        if self._server:
            self._server.kill()
        if self._epmd:
            self._epmd.kill()
        self._resources.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_up(self) -> bool:
        if self._server:
            self._server.require_running()
        if not self.accepts_connections():
            return False
        try:
            self.api.version()
        except requests.RequestException:
            return False
        return True
