"""The installation that a storm hits: real Slurm and RabbitMQ, a simulated cloud, and weak points.

Connections to broker and cloud go through proxies that can be cut; spool and databases lie on small
disks; hooks are called through a program that records each call; hooks and workers see a clock that can
be stepped.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Self

import psutil

from storm.plan import STRATEGIES
from tests.testbed.broker import PrivateBroker
from tests.testbed.broker_cluster import BrokerCluster
from tests.testbed.cluster import PROGRAMS, ROOT, VHOST, Cluster, ClusterPlan
from tests.testbed.cut import Cut
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.small_disk import SmallDisk
from tests.testbed.stepped_clock import SteppedClock
from workers.config.settings import Settings

_DISKS = {"spool": 4, "state": 64, "audit": 128}
_SCHEDULER = "sched_interval=3,bf_interval=3,batch_sched_delay=0"
# Slurm's commands run by the machine's clock.
_COMMAND = '#!/bin/sh\nunset LD_PRELOAD\nexec {program} "$@"\n'
# A hook that is killed has this long; it takes about 0.1 s.
_HOOK_LIVES = 0.05
_CALLER = """#!/bin/sh
# Runs a hook as slurmctld does, without descriptors 0 to 2, and records the call.
calls={folder}/hook-calls
echo "$$ begin $(/usr/bin/date +%s.%N) {kind} $1" >>$calls
if /usr/bin/rm {folder}/kill-hook 2>/dev/null; then
  killer="/usr/bin/timeout -s KILL {lives}"
fi
/usr/bin/env {clock} $killer {program} "$1" <&- >&- 2>&-
status=$?
echo "$$ end $(/usr/bin/date +%s.%N) $status" >>$calls
exit $status
"""


def plan(nodes: int) -> ClusterPlan:
    """A third of the nodes for each strategy, one partition each; times short enough for a storm."""
    names = [f"node{number}" for number in range(1, nodes + 1)]
    of = {name: STRATEGIES[number * 3 // nodes] for number, name in enumerate(names)}
    partitions = [
        f"PartitionName={strategy} Nodes={','.join(n for n in names if of[n] == strategy)}"
        for strategy in STRATEGIES
    ]
    slurm = SlurmSettings(
        nodes=nodes,
        suspend_time=10,
        suspend_timeout=6,
        resume_timeout=45,
        cred_expire=5,
        # each job by itself: more calls of hooks
        extra_conf=(*partitions, "KillWait=5", f"SchedulerParameters={_SCHEDULER}"),
    )
    return ClusterPlan(
        slurm,
        boot=2.0,
        stop=1.0,
        strategies=of,
        group="boot_timeout = 25.0\nstop_timeout = 25.0\ncool_down = 5.0",
        slurm_toml='bin = "../../slurm-bin"\n'
        "return_after = 10.0\nreturn_at_most = 40.0\ngive_back_after = 30.0",
        snapshot_interval=5.0,
        grace=4.0,
        stores=("state/state.db", "audit/audit.db"),
        more=(
            "[power]\npoll_interval = 0.5\nlease = 8.0\napi_timeout = 4.0\nattempts = 3\n"
            '[audit]\nkey_file = "audit.key"\nheads_file = "audit.heads"\nheads_every = 10.0\n'
            '[tokens]\nkey_file = "token.key"\n'
        ),
    )


def workers_of(owner: Child | None) -> dict[str, psutil.Process]:
    """The workers that a supervisor runs now, by the name in their process titles."""
    found: dict[str, psutil.Process] = {}
    if owner is None or not owner.running:
        return found
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(owner.pid).children():
            words = " ".join(child.cmdline()).split()
            if words[-2:-1] == ["worker"]:
                found[words[-1]] = child
    return found


class Site(Cluster):
    """A cluster with weak points; use as a context manager.

    Args:
        folder: for all files; a short path.
        nodes: number of nodes.
        brokers: 1, or 3 for a cluster of RabbitMQ nodes.
        say: called with a description of each step of the start.

    Attributes:
        cuts: the proxies before each broker, and the one before the cloud.
        disks: by name.
        cluster: the broker's nodes, if there are several.
    """

    def __init__(
        self, folder: Path, nodes: int, brokers: int, say: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(folder, plan(nodes), say)
        self._brokers = brokers
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
    def clock(self) -> SteppedClock:
        """The clock of hooks and workers."""
        return SteppedClock(self.folder)

    @property
    def hook_calls(self) -> Path:
        """The record of all calls of hooks."""
        return self.folder / "hook-calls"

    @property
    def beats(self) -> Path:
        """The folder in which jobs show that they are alive."""
        return self.folder / "beats"

    def kill_next_hook(self) -> None:
        """Let the next hook be killed soon after its start."""
        (self.folder / "kill-hook").touch()

    @cached_property
    def cloud_cut(self) -> Cut:
        """The proxy before the cloud."""
        port = int(self.cloud.auth_url.split("/")[2].rpartition(":")[2])
        return self._site.enter_context(Cut(port))

    def operator(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of Lamplighter."""
        return subprocess.run(
            [*self._words(), *words],
            input=typed,
            env=self._worker_environment(),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=120,
        )

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
        for name, megabytes in _DISKS.items():
            disk = SmallDisk(self.slurm.conf_dir / name, megabytes)
            self.disks[name] = self._site.enter_context(disk)
        self.beats.mkdir()
        for name in ("scontrol", "squeue"):
            program = shutil.which(name, path=MINIMAL_ENVIRONMENT["PATH"])
            self._program(f"slurm-bin/{name}", _COMMAND.format(program=program))
        return super()._configure()

    def _hook_program(self, kind: str) -> Path:
        text = _CALLER.format(
            folder=self.folder,
            kind=kind,
            clock=" ".join(f"{name}={value}" for name, value in self.clock.environment.items()),
            lives=_HOOK_LIVES,
            program=PROGRAMS / f"lamplighter-{kind}",
        )
        return self._program(f"call-{kind}", text)

    def _program(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def _worker_environment(self) -> Mapping[str, str]:
        return {**MINIMAL_ENVIRONMENT, **self.clock.environment}

    def start_workers(self) -> None:
        """Run `lamplighter up`, and a second power worker; wait until all consume their queues."""
        super().start_workers()
        for node in self.cluster.nodes if self.cluster else [self.broker]:
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
