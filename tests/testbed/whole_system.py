"""Lamplighter as a whole on a simulated cloud: real hooks, real workers, a real broker; no Slurm.

Its nodes are node1 to nodeN, on one cloud. What was asked is kept, so that `check` can say at the end,
without trusting any worker, whether every promise about it was kept.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import sqlalchemy as sa

from producers.amqp import connection_parameters
from producers.call import expand
from schemas.commands import Desired
from schemas.events import Transition
from tests.testbed.checker import Run, broken_promises
from tests.testbed.consumers import all_consume
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child, tail
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.waiting import until, until_none
from workers.audit.queries import Entry, Filter, find
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.broker.declare import declare
from workers.config.settings import Settings, load
from workers.store.database import connect, open_store, reading
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
WORKERS = ("tokens", "audit", "power")
Asked = Literal["resume", "suspend", "resume-fail"]
# Takes every event, as the audit's queue does; what it holds is the checker's.
_WITNESS = "test.witness"
_LIT = {"resume": True, "suspend": False, "resume-fail": False}


@dataclass(frozen=True)
class Plan:
    """What a fleet is like; seconds.

    Attributes:
        nodes: how many.
        boot, stop, latency: the cloud's.
        source: how tokens are got.
        store: the store's and the audit's URLs.
        power: further lines of [power].
        group: further lines of the group.
        more: further tables of lamplighter.toml.
        servers: the servers that there are before; None for those of all `nodes`.
        files: further files beside lamplighter.toml, by name.
    """

    nodes: int = 3
    boot: float = 0.5
    stop: float = 0.3
    latency: float = 0.01
    source: Literal["password", "oidc_refresh_token"] = "password"
    store: tuple[str, str] = ("sqlite:///state.db", "sqlite:///audit.db")
    power: str = "poll_interval = 0.3"
    group: str = ""
    more: str = ""
    servers: tuple[str, ...] | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Fleet:
    """Use as a context manager; the workers run unless `start` is False.

    Attributes:
        folder: will hold all that is written.
        broker_url: with the password, on a fresh vhost.
        start: the workers to start at once.
        asked: each node's last asked state: whether it is to be lit.
        requests: how many requests the hooks have made, duplicates not counted.
    """

    folder: Path
    broker_url: str = field(repr=False)
    plan: Plan = field(default_factory=Plan)
    start: tuple[str, ...] = WORKERS
    asked: dict[str, bool] = field(default_factory=dict)
    requests: int = 0
    workers: dict[str, Child] = field(default_factory=dict)
    _told: list[bytes] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def nodes(self) -> list[str]:
        """All of them."""
        return [f"node{number}" for number in range(1, self.plan.nodes + 1)]

    @property
    def everything(self) -> str:
        """All nodes as a hostlist."""
        return f"node[1-{self.plan.nodes}]"

    # -- what people and Slurm do

    def ask(self, what: Asked, nodes: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a hook as it is installed; its exit status is the caller's matter."""
        hostlist = nodes or self.everything
        done = self.hook(what, hostlist)
        self.note(what, hostlist)
        return done

    def hook(self, what: Asked, hostlist: str) -> subprocess.CompletedProcess[str]:
        """Run a hook and note nothing."""
        return subprocess.run(
            [PROGRAMS / f"lamplighter-{what}", hostlist],
            env={"LAMPLIGHTER_CONFIG": str(self.settings.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def operator(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command line; `typed` is what the person types."""
        return subprocess.run(
            self.command(*arguments),
            input=typed,
            env=dict(MINIMAL_ENVIRONMENT),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=120,
        )

    def command(self, *arguments: str) -> list[str | Path]:
        """The command line's words."""
        return [sys.executable, "-m", "ops.cli.main", "--config", self.settings.path, *arguments]

    def note(self, what: Asked, hostlist: str) -> None:
        """Remember that this was asked."""
        names = expand(hostlist)
        self.requests += len(names)
        self.asked |= dict.fromkeys(names, _LIT[what])

    def worker(self, name: str, instance: str | None = None) -> Child:
        """Start a worker; `instance` tells a second one of the same kind apart."""
        which = instance or name
        child = Child(
            self.command("worker", name),
            log=self.folder / f"{which}.log",
            env=MINIMAL_ENVIRONMENT,
            cwd=ROOT,
        )
        self._stack.callback(child.stop)
        self.workers[which] = child
        return child

    def ready(self) -> None:
        """Wait until the workers consume."""
        until(lambda: all_consume(self.settings), 60, "the workers to consume their queues")

    # -- what is to be seen

    def records(self, **wanted: object) -> list[Entry]:
        """The audit's records, in order."""
        engine = connect(self.settings.store.audit_url)
        try:
            with reading(engine) as connection:
                return find(connection, Filter(limit=100_000, **wanted))  # type: ignore[arg-type]
        finally:
            engine.dispose()

    def ended(self) -> Counter[tuple[str, int]]:
        """How many terminal records each request's round has."""
        return Counter(
            (entry.request_id or "", entry.round or 0)
            for entry in self.records()
            if entry.transition and Transition(entry.transition).terminal
        )

    def outcomes(self) -> Counter[str]:
        """How many requests ended how."""
        return Counter(
            entry.transition
            for entry in self.records()
            if entry.transition and Transition(entry.transition).terminal
        )

    def depths(self) -> dict[str, int]:
        """Messages waiting in the work, retry and dead-letter queues; empty ones are left out."""
        queues = [
            topology.RESUME_QUEUE,
            topology.SUSPEND_QUEUE,
            *topology.RETRY_TIERS,
            topology.DEAD_LETTER_QUEUE,
        ]
        with blocking_channel(connection_parameters(self.settings.broker, "test bed")) as channel:
            counts = {
                queue: channel.queue_declare(queue=queue, passive=True).method.message_count
                for queue in queues
            }
        return {queue: count for queue, count in counts.items() if count}

    def log(self, worker: str) -> str:
        """All that a worker has written."""
        return (self.folder / f"{worker}.log").read_text()

    def freeze(self, worker: str) -> None:
        """Stop a worker where it stands (SIGSTOP), but not where it holds the lock of SQLite.

        With that it would hold up everybody until it is awakened by SIGCONT.
        """
        until(lambda: self._frozen(self.workers[worker]), 30, f"{worker} to be frozen")

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until every request has ended.

        Raises:
            TimeoutError: with what is missing and the end of the power worker's log.
        """
        try:
            until(lambda: len(self.ended()) >= self.requests, timeout, "all requests to end")
        except TimeoutError as error:
            seen = f"{len(self.ended())} of {self.requests} ended; {self.depths()}"
            raise TimeoutError(f"{error}: {seen}\n{tail(self.folder / 'power.log', 10)}") from None

    def check(self, *, dead: int = 0) -> None:
        """What was promised, by what the broker, the audit's tables and the cloud show. Ends it all.

        The workers are stopped: what they have not acknowledged is then seen in its queue.

        Args:
            dead: letters that are expected in the dead-letter queue.
        """
        expected = {topology.DEAD_LETTER_QUEUE: dead} if dead else {}
        until(lambda: self.depths() == expected, 20, f"empty queues and {dead} dead letters")
        until_none(self.wrong, 20, "nodes that are not as was last asked")
        until_none(self.broken, 20, "broken promises")
        living = {name: c for name, c in self.workers.items() if c.returncode is None}
        ended = {name: child.stop() for name, child in living.items()}
        assert not any(ended.values()), f"workers did not end in order: {ended}"
        assert self.depths() == expected, "there are messages that no worker has acknowledged"
        assert not self.broken()

    def broken(self, *, others_ask: bool = False) -> list[str]:
        """Promises about requests and records that do not hold, or do not hold yet.

        Args:
            others_ask: whether not only our hooks have asked, but the resync worker too.
        """
        engine = connect(self.settings.store.audit_url)
        with reading(engine) as connection:
            rows = connection.execute(sa.select(audit).order_by(audit.c.seq)).mappings()
            records = [dict(row) for row in rows]
        engine.dispose()
        wanted = {n: Desired.UP if lit else Desired.DOWN for n, lit in self.asked.items()}
        told = self._hear()
        if others_ask:
            accepted = {r["request_id"] for r in records if r["transition"] == Transition.ACCEPTED}
            return broken_promises(Run(records, told, len(accepted), {}))
        return broken_promises(Run(records, told, self.requests, wanted))

    def statuses(self) -> dict[str, str]:
        """Each server's status at rest, else its task, by name."""
        return {
            name: server.status if server.task_state is None else str(server.task_state)
            for name, server in self.cloud.servers().items()
        }

    def wrong(self) -> dict[str, str]:
        """Nodes that are not as was last asked, with their status."""
        servers = self.cloud.servers()
        return {
            node: servers[node].status
            for node, lit in self.asked.items()
            if servers[node].status != ("ACTIVE" if lit else "SHUTOFF") or servers[node].task_state
        }

    def _hear(self) -> list[bytes]:
        """All events that were told so far; the audit's order need not be the same."""
        with blocking_channel(
            connection_parameters(self.settings.broker, "test witness")
        ) as channel:
            while True:
                method, _, body = channel.basic_get(_WITNESS, auto_ack=True)
                if method is None:
                    return list(self._told)
                self._told.append(body)

    def _frozen(self, child: Child) -> bool:
        child.send(signal.SIGSTOP)
        if self.settings.store.url.startswith("sqlite"):
            store = sqlite3.connect(sa.make_url(self.settings.store.url).database or "", timeout=1)
            try:
                store.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                child.send(signal.SIGCONT)
                return False
            finally:
                store.close()
        return True

    # -- setting it up

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cloud = self._stack.enter_context(SimCloud())
        self.cloud.set(
            boot_seconds=self.plan.boot,
            stop_seconds=self.plan.stop,
            latency_seconds=self.plan.latency,
        )
        self.cloud.add_servers(self.nodes if self.plan.servers is None else self.plan.servers)
        for name in ("spool", "clock"):  # an operator who is root wants them to be there
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        self.settings: Settings = load(self._configure())
        open_store(self.settings.store.url, "state").dispose()
        open_store(self.settings.store.audit_url, "audit").dispose()
        with blocking_channel(connection_parameters(self.settings.broker, "test bed")) as channel:
            declare(channel, topology.topology())
            channel.queue_declare(_WITNESS, durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind(_WITNESS, topology.EVENTS, "#")
        for name in self.start:
            self.worker(name)
        if set(WORKERS) <= set(self.start):
            self.ready()

    def _configure(self) -> Path:
        for name, text in self._files():
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_text(text)
        return self.folder / "lamplighter.toml"

    def _files(self) -> Iterator[tuple[str, str]]:
        yield "cloud.password", credentials.PASSWORD
        yield from self.plan.files.items()
        yield "refresh.token", self.cloud.mint_refresh_token()
        source = (
            f'username = "{credentials.USERNAME}"\npassword_file = "cloud.password"'
            if self.plan.source == "password"
            else f'refresh_token_file = "refresh.token"\n'
            f'token_endpoint = "{self.cloud.token_endpoint}"'
        )
        url, audit_url = self.plan.store
        yield (
            "lamplighter.toml",
            f"""
cluster = "test"
broker = {{ url = "{self.broker_url}" }}
hooks = {{ spool = "spool", state = "clock", log_file = "hooks.log" }}
store = {{ url = "{url}", audit_url = "{audit_url}" }}
[power]
{self.plan.power}
[clouds.main]
auth_url = "{self.cloud.auth_url}"
project_id = "{credentials.PROJECT_ID}"
[clouds.main.source]
type = "{self.plan.source}"
{source}
[groups.all]
nodes = "{self.everything}"
cloud = "main"
{self.plan.group}
{self.plan.more}
""",
        )
