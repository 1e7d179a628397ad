"""The installation that a storm hits: real Slurm and RabbitMQ, a simulated cloud, and weak points.

Connections to broker and cloud go through proxies that can be cut; spool and databases lie on small
disks; hooks are called through a program that records each call; hooks, workers and PostgreSQL each see
a clock that can be stepped.
"""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Self

import psutil

from storm.layout import DATABASE_DISK, DISKS, hook_caller, layout, slurm_command
from storm.memory import workers_of
from tests.testbed.broker import PrivateBroker
from tests.testbed.broker_cluster import BrokerCluster
from tests.testbed.cluster import ROOT, VHOST, Cluster
from tests.testbed.cut import Cut
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.small_disk import SmallDisk
from tests.testbed.stepped_clock import SteppedClock
from workers.config.settings import Settings


def _text(part: str | bytes | None) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else part or ""


class Site(Cluster):
    """A cluster with weak points; use as a context manager.

    Args:
        folder: for all files; a short path.
        nodes: number of nodes.
        brokers: 1, or 3 for a cluster of RabbitMQ nodes.
        store: `sqlite`, or `postgresql` for state store and audit log.
        say: called with a description of each step of the start.

    Attributes:
        broker_cuts: the proxies before each broker.
        disks: by name.
        cluster: the broker's nodes, if there are several.
        postgresql: the database's server, if there is one.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int,
        brokers: int,
        store: str = "sqlite",
        say: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(folder, layout(nodes), say)
        self._brokers, self._store = brokers, store
        self._said = threading.Lock()
        self.postgresql: PostgreSQL | None = None
        self.cluster: BrokerCluster | None = None
        self.broker_cuts: list[Cut] = []
        self.disks: dict[str, SmallDisk] = {}
        self.second: Child | None = None
        self._site = ExitStack()

    def __exit__(self, *details: object) -> None:
        with self._site:
            super().__exit__(*details)

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except BaseException:
            self._site.close()
            raise

    # -- the weak points

    @cached_property
    def clocks(self) -> Mapping[str, SteppedClock]:
        """The clocks of `hooks`, `workers` and `database`."""
        folders = {name: self.folder / f"clock-{name}" for name in ("hooks", "workers", "database")}
        for folder in folders.values():
            folder.mkdir()
        return {name: SteppedClock(folder) for name, folder in folders.items()}

    @property
    def partitions(self) -> Mapping[str, list[str]]:
        """The nodes of each partition, which is a strategy's."""
        found: dict[str, list[str]] = {}
        for node, strategy in self.plan.strategies.items():
            found.setdefault(strategy, []).append(node)
        return found

    @property
    def hook_calls(self) -> Path:
        """The record of all calls of hooks."""
        return self.folder / "hook-calls"

    @property
    def beats(self) -> Path:
        """The folder in which jobs show that they are alive."""
        return self.folder / "beats"

    def kill_next_hook(self, lives: float) -> None:
        """Let the next hook be killed so many seconds after its start."""
        written = self.folder / "kill-hook.new"
        written.write_text(f"{lives:.3f}")
        written.rename(self.folder / "kill-hook")

    @cached_property
    def cloud_cut(self) -> Cut:
        """The proxy before the cloud."""
        port = int(self.cloud.auth_url.split("/")[2].rpartition(":")[2])
        return self._site.enter_context(Cut(port))

    @property
    def brokers(self) -> list[PrivateBroker]:
        """The broker, or its nodes."""
        return self.cluster.nodes if self.cluster else [self.broker]

    def process(self, worker: str) -> psutil.Process | None:
        """The process of a worker; None while its supervisor waits before it starts it again."""
        owner = self.second if worker == "power2" else self.workers
        return workers_of(owner).get("power" if worker == "power2" else worker)

    def mend(self) -> None:
        """Undo whatever may still be in force."""
        for cut in (*self.broker_cuts, self.cloud_cut):
            cut.mend()
        for disk in self.disks.values():
            disk.free()
        for clock in self.clocks.values():
            clock.step(0.0)
        self.simulated.outage(on=False)
        self.simulated.set(hide_changes=False)
        self.simulated.clear_faults()
        self.mend_brokers()
        self.mend_database()
        self.slurm.start_ctld()

    def mend_brokers(self) -> None:
        """Let all nodes of the broker run, connected with each other."""
        if self.cluster is not None:
            self.cluster.mend()
        elif self.broker.is_frozen:
            self.broker.running.send(signal.SIGCONT)
        else:
            self.broker.start()

    def mend_database(self) -> None:
        """Let the database run."""
        if self.postgresql is not None:
            self.postgresql.mend()

    # -- what an operator does

    def operator(self, *words: str, lives: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command of Lamplighter; it is killed after so many seconds. Its output is kept."""
        command, began = [*map(str, self._words()), *words], time.time()
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                env=self._worker_environment(),
                capture_output=True,
                text=True,
                check=False,
                cwd=ROOT,
                timeout=lives,
            )
        except subprocess.TimeoutExpired as ended:
            out, err = (_text(part) for part in (ended.stdout, ended.stderr))
            done = subprocess.CompletedProcess(command, -signal.SIGKILL, out, err)
        shown = "" if words[:2] == ("audit", "export") else done.stdout
        with self._said, (self.folder / "operator.log").open("a") as log:
            log.write(
                f"{began:.3f} {time.time():.3f} {' '.join(words)}: {done.returncode}\n"
                f"{shown}{done.stderr}\n"
            )
        return done

    def log_in(self) -> None:
        """Store a new login."""
        secret = self.slurm.conf_dir / "refresh.token"
        secret.write_text(self.simulated.mint_refresh_token())

    def release(self, nodes: str) -> None:
        """End holds, if there are any; try again while the store is away.

        Raises:
            RuntimeError: they cannot be ended.
        """
        for _ in range(20):
            done = self.operator("release", nodes)
            if done.returncode == 0 or "none of these nodes" in done.stderr:
                return
            time.sleep(1.0)
        raise RuntimeError(f"the hold of {nodes} cannot be released: {done.stderr}")

    # -- how the cluster is set up

    def _open_broker(self) -> PrivateBroker:
        if self._brokers == 1:
            nodes = [super()._open_broker()]
        else:
            self.cluster = self._stack.enter_context(BrokerCluster(self.folder / "brokers"))
            nodes = self.cluster.nodes
        self.broker_cuts = [self._site.enter_context(Cut(node.port)) for node in nodes]
        return nodes[0]

    def _broker_table(self) -> str:
        urls = [f"amqp://127.0.0.1:{cut.port}/{VHOST}" for cut in self.broker_cuts]
        own = f'url = "amqp://{self.broker.host}:{self.broker.port}/{VHOST}"'
        return super()._broker_table().replace(own, f"urls = {urls}")

    def _cloud_address(self, url: str) -> str:
        scheme, _, host, path = url.split("/", 3)
        return f"{scheme}//{host.rpartition(':')[0]}:{self.cloud_cut.port}/{path}"

    def _configure(self) -> Settings:
        for name, megabytes in DISKS.items():
            disk = SmallDisk(self.slurm.conf_dir / name, megabytes)
            self.disks[name] = self._site.enter_context(disk)
        if self._store == "postgresql":
            self._open_database()
        self.beats.mkdir()
        for name in ("scontrol", "squeue"):
            program = shutil.which(name, path=MINIMAL_ENVIRONMENT["PATH"])
            self._program(f"slurm-bin/{name}", slurm_command(program))
        return super()._configure()

    def _open_database(self) -> None:
        self._say("a private PostgreSQL")
        disk = SmallDisk(self.folder / "database", DATABASE_DISK)
        self.disks["database"] = self._site.enter_context(disk)
        disk.folder.chmod(0o711)  # its server runs as another user
        clock = self.clocks["database"].environment
        server = PostgreSQL(disk.folder / "server", clock, ("max_wal_size=64MB",))
        self.postgresql = self._site.enter_context(server)

    def _store_urls(self) -> tuple[str, str]:
        if self.postgresql is None:
            return super()._store_urls()
        return self.postgresql.create_database(), self.postgresql.create_database()

    def _hook_program(self, kind: str) -> Path:
        text = hook_caller(self.folder, kind, self.clocks["hooks"].environment)
        return self._program(f"call-{kind}", text)

    def _program(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def _worker_environment(self) -> Mapping[str, str]:
        return {**MINIMAL_ENVIRONMENT, **self.clocks["workers"].environment}

    def start_workers(self) -> None:
        """Run `lamplighter up`, and a second power worker; wait until all consume their queues."""
        super().start_workers()
        for node in self.brokers:
            node.settle()
        self.start_second()

    def start_up(self) -> None:
        """Run `lamplighter up` again, without waiting."""
        self.workers = self._run("up", "lamplighter.log")

    def start_second(self) -> None:
        """Run the second power worker."""
        self.second = self._run("up", "second.log", "--only", "power")

    def _run(self, command: str, log: str, *more: str) -> Child:
        child = Child(
            [*self._words(), command, *more],
            log=self.folder / log,
            env=self._worker_environment(),
            cwd=ROOT,
        )
        self._stack.callback(child.stop, 40.0)
        return child

    def _words(self) -> list[str | Path]:
        return [sys.executable, "-m", "ops.cli.main", "--config", self.settings.path]
