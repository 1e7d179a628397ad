"""All of Lamplighter on a simulated cloud: real hooks, real workers, a real broker, but no Slurm.

The nodes are node1 to nodeN on one cloud. All requests are recorded, so that `check` can verify at
the end, without trusting any worker, that every promise was kept.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import sqlalchemy as sa
from msgspec.structs import replace

from producers.amqp import connection_parameters
from producers.hosts import expand
from schemas.commands import Desired
from schemas.events import Transition
from tests.testbed.broker_address import broker_fields
from tests.testbed.checker import Run, broken_promises
from tests.testbed.commands import run_command
from tests.testbed.consumers import all_consume
from tests.testbed.declared import declare_in_time
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child, tail
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.stores import STORES
from tests.testbed.terminal import typing
from tests.testbed.waiting import until, until_none
from workers.audit.queries import Entry, Filter, find
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.config.settings import Settings, load
from workers.store.database import connect, open_store, reading
from workers.store.tables import audit, requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.testbed.broker_roles import BrokerRoles

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
WORKERS = ("tokens", "audit", "power")
HookKind = Literal["resume", "suspend", "resume-fail"]
# What a group needs to create servers, after its own lines.
TEMPLATE = """[groups.all.server]
image = "11111111-1111-4111-8111-111111111111"
flavor = "m1.tiny"
networks = ["none"]
"""
# Receives every event, as the audit's queue does; the checker reads it.
_ALL_EVENTS = "test.all_events"
_POWERED_ON = {"resume": True, "suspend": False, "resume-fail": False}


@dataclass(frozen=True)
class SystemPlan:
    """The properties of a whole system; times are seconds.

    Attributes:
        nodes: number of nodes.
        boot, stop, latency: times of the cloud.
        source: type of the token source.
        store: URLs of the state store and the audit store; empty for this run's.
        power: more lines of [power].
        group: more lines of the group.
        more: more tables of lamplighter.toml.
        servers: names of the servers that exist at the start; None for those of all nodes.
        files: more files beside lamplighter.toml, by name.
    """

    nodes: int = 3
    boot: float = 0.5
    stop: float = 0.3
    latency: float = 0.01
    source: Literal["password", "oidc_refresh_token"] = "password"
    store: tuple[str, str] = ("", "")
    power: str = "poll_interval = 0.3"
    group: str = ""
    more: str = ""
    servers: tuple[str, ...] | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass
class WholeSystem:
    """Use as a context manager; the workers run unless `start` is False.

    Attributes:
        folder: for all files.
        broker_url: with the password, on a fresh vhost; several for the nodes of a cluster.
        start: the workers to start at once.
        roles: the roles' broker users, which all programs use; None if one user serves all.
        asked: whether the last request for each node powers it on.
        requests: number of requests that the hooks made, without duplicates.
    """

    folder: Path
    broker_url: str | Sequence[str] = field(repr=False)
    plan: SystemPlan = field(default_factory=SystemPlan)
    start: tuple[str, ...] = WORKERS
    roles: BrokerRoles | None = None
    asked: dict[str, bool] = field(default_factory=dict)
    requests: int = 0
    workers: dict[str, Child] = field(default_factory=dict)
    _events: list[bytes] = field(default_factory=list)
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
        """The names of all nodes."""
        return [f"node{number}" for number in range(1, self.plan.nodes + 1)]

    @property
    def everything(self) -> str:
        """All nodes as a hostlist."""
        return f"node[1-{self.plan.nodes}]"

    # -- actions of operators and Slurm

    def request(self, what: HookKind, nodes: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run an installed hook and record the request; the caller checks the exit status."""
        hostlist = nodes or self.everything
        done = self.hook(what, hostlist)
        self.note(what, hostlist)
        return done

    def hook(self, what: HookKind, hostlist: str) -> subprocess.CompletedProcess[str]:
        """Run a hook without recording the request."""
        return subprocess.run(
            [PROGRAMS / f"lamplighter-{what}", hostlist],
            env={"LAMPLIGHTER_CONFIG": str(self.settings.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def operator(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command; a person at a terminal types `answer`.

        A command that waits for outcomes ends with them; their records may come a moment later.
        """
        words = ("--config", str(self.settings.path), *arguments)
        with typing(f"{answer}\n") if answer else nullcontext() as terminal:
            done = run_command(words, stdin=terminal, cwd=ROOT, timeout=120)
        if "audit" in self.workers and self.workers["audit"].running:
            with suppress(TimeoutError, sa.exc.SQLAlchemyError):
                until(self._outcomes_are_recorded, 2, "the outcomes' records")
        return done

    def _outcomes_are_recorded(self) -> bool:
        engine = connect(self.settings.store.url)
        try:
            with reading(engine) as connection:
                query = sa.select(requests.c.request_id, requests.c.round)
                rows = connection.execute(query.where(requests.c.outcome.is_not(None)))
                decided = {(row.request_id, row.round) for row in rows}
        finally:
            engine.dispose()
        return decided <= self.ended().keys()

    def command(self, *arguments: str) -> list[str | Path]:
        """The words of a command."""
        return [sys.executable, "-m", "ops.cli.main", "--config", self.settings.path, *arguments]

    def note(self, what: HookKind, hostlist: str) -> None:
        """Record a request."""
        names = expand(hostlist)
        self.requests += len(names)
        self.asked |= dict.fromkeys(names, _POWERED_ON[what])

    def worker(self, name: str, instance: str | None = None) -> Child:
        """Start a worker; `instance` names a second worker of the same kind."""
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
        """Wait until the workers consume their queues.

        Raises:
            RuntimeError: a worker has ended; the message holds the end of its log.
        """
        until(self._workers_consume, 60, "the workers to consume their queues")

    def _workers_consume(self) -> bool:
        for child in self.workers.values():
            if child.returncode is None:  # not ended by the test
                child.require_running()
        return all_consume(self.settings)

    # -- observations

    def records(self, **wanted: object) -> list[Entry]:
        """The audit records, in order."""
        engine = connect(self.settings.store.audit_url)
        try:
            with reading(engine) as connection:
                return find(connection, Filter(limit=100_000, **wanted))  # type: ignore[arg-type]
        finally:
            engine.dispose()

    def ended(self) -> Counter[tuple[str, int]]:
        """The number of terminal records of each request's round."""
        return Counter(
            (entry.request_id or "", entry.round or 0)
            for entry in self.records()
            if entry.transition and Transition(entry.transition).terminal
        )

    def outcomes(self) -> Counter[str]:
        """The number of requests per outcome."""
        return Counter(
            entry.transition
            for entry in self.records()
            if entry.transition and Transition(entry.transition).terminal
        )

    def depths(self) -> dict[str, int]:
        """The number of messages in each work, retry and dead-letter queue that is not empty."""
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
        """The log of a worker."""
        return (self.folder / f"{worker}.log").read_text()

    def freeze(self, worker: str) -> None:
        """Pause a worker with SIGSTOP, but not while it holds SQLite's lock.

        With the lock it would block all other processes until SIGCONT.
        """
        until(lambda: self._frozen(self.workers[worker]), 30, f"{worker} to be frozen")

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until every request has ended.

        Raises:
            TimeoutError: with what is missing, and the end of the power worker's log.
        """
        try:
            until(lambda: len(self.ended()) >= self.requests, timeout, "all requests to end")
        except TimeoutError as error:
            seen = f"{len(self.ended())} of {self.requests} ended; queues: {self.depths()}"
            raise TimeoutError(f"{error}: {seen}\n{tail(self.folder / 'power.log', 10)}") from None

    def check(self, *, dead: int = 0) -> None:
        """Check all promises against the broker, the audit's tables and the cloud; stop the workers.

        Once the workers are stopped, messages that they did not acknowledge are in their queues.

        Args:
            dead: number of dead letters expected.
        """
        expected = {topology.DEAD_LETTER_QUEUE: dead} if dead else {}
        until(lambda: self.depths() == expected, 20, f"empty queues and {dead} dead letters")
        until_none(self.wrong, 20, "nodes that are not as was last asked")
        until_none(self.broken, 20, "broken promises")
        living = {name: c for name, c in self.workers.items() if c.returncode is None}
        ended = {name: child.stop() for name, child in living.items()}
        assert not any(ended.values()), f"workers did not exit with status 0: {ended}"
        assert self.depths() == expected, "messages remain that no worker acknowledged"
        assert not self.broken()

    def broken(self, *, others_ask: bool = False) -> list[str]:
        """The promises about requests and records that do not hold, or do not hold yet.

        Args:
            others_ask: whether the resync worker too has sent requests, not only our hooks.
        """
        engine = connect(self.settings.store.audit_url)
        with reading(engine) as connection:
            rows = connection.execute(sa.select(audit).order_by(audit.c.seq)).mappings()
            records = [dict(row) for row in rows]
        engine.dispose()
        wanted = {n: Desired.UP if on else Desired.DOWN for n, on in self.asked.items()}
        events = self._read_events()
        if others_ask:
            accepted = {r["request_id"] for r in records if r["transition"] == Transition.ACCEPTED}
            return broken_promises(Run(records, events, len(accepted), {}))
        return broken_promises(Run(records, events, self.requests, wanted))

    def statuses(self) -> dict[str, str]:
        """The status of each server, or its task if it has one, by name."""
        return {
            name: server.status if server.task_state is None else str(server.task_state)
            for name, server in self.cloud.servers().items()
        }

    def wrong(self) -> dict[str, str]:
        """The nodes whose server differs from their last request, with its status."""
        servers = self.cloud.servers()
        return {
            node: servers[node].status
            for node, on in self.asked.items()
            if servers[node].status != ("ACTIVE" if on else "SHUTOFF") or servers[node].task_state
        }

    def _read_events(self) -> list[bytes]:
        """All events published so far; the audit may have them in another order."""
        with blocking_channel(
            connection_parameters(self.settings.broker, "test events")
        ) as channel:
            while True:
                method, _, body = channel.basic_get(_ALL_EVENTS, auto_ack=True)
                if method is None:
                    return list(self._events)
                self._events.append(body)

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

    # -- setup

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cloud = self._stack.enter_context(SimCloud())
        self.cloud.set(
            boot_seconds=self.plan.boot,
            stop_seconds=self.plan.stop,
            latency_seconds=self.plan.latency,
        )
        self.cloud.add_servers(self.nodes if self.plan.servers is None else self.plan.servers)
        for name in ("spool", "clock"):  # commands that run as root require them
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        # the test bed itself is an administrator
        config = self._configure()
        self.settings: Settings = replace(load(self.folder / "test_bed.toml"), path=config)
        if self.roles is not None:
            self.roles.apply(config)
            self._stack.callback(self.roles.remove)
        open_store(self.settings.store.url, "state").dispose()
        open_store(self.settings.store.audit_url, "audit").dispose()
        parameters = connection_parameters(self.settings.broker, "test bed")
        declare_in_time(parameters, topology.topology())
        with blocking_channel(parameters) as channel:
            channel.queue_declare(_ALL_EVENTS, durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind(_ALL_EVENTS, topology.EVENTS, "#")
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
        urls = [self.broker_url] if isinstance(self.broker_url, str) else list(self.broker_url)
        broker = f"broker = {{ {', '.join(broker_fields(self.folder, urls))} }}"
        yield "test_bed.toml", self._toml(broker)
        yield "lamplighter.toml", self._toml(self.roles.table if self.roles else broker)
        yield "cloud.password", credentials.PASSWORD
        yield from self.plan.files.items()
        yield "refresh.token", self.cloud.mint_refresh_token()

    def _toml(self, broker: str) -> str:
        source = (
            f'username = "{credentials.USERNAME}"\npassword_file = "cloud.password"'
            if self.plan.source == "password"
            else f'refresh_token_file = "refresh.token"\n'
            f'token_endpoint = "{self.cloud.token_endpoint}"'
        )
        url, audit_url = self.plan.store if all(self.plan.store) else STORES.pair(self.folder)
        return f"""
cluster = "test"
{broker}
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
"""
