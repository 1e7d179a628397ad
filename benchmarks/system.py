"""A broker and Lamplighter's workers on a cloud; and the bare client on the same cloud."""

import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil
import sqlalchemy as sa

from schemas.events import Transition
from tests.testbed.broker import PrivateBroker
from tests.testbed.broker_address import broker_fields
from tests.testbed.consumers import all_consume
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.waiting import until
from tests.testbed.whole_system import PROGRAMS, ROOT, WORKERS
from workers.config.settings import load
from workers.store.database import connect, reading
from workers.store.tables import audit

CONCURRENCY = 16
ACTIONS = {"resume": "os-start", "suspend": "os-stop"}
_CONFIG = """
cluster = "bench"
broker = {{ {broker} }}
hooks = {{ spool = "spool", state = "clock" }}
store = {{ url = "{store[0]}", audit_url = "{store[1]}" }}
log = {{ level = "warning" }}
[clouds.bench]
auth_url = "{auth_url}"
project_id = "{project_id}"
concurrency = {concurrency}
source = {{ {source} }}
[groups.all]
nodes = "node[1-{nodes}]"
cloud = "bench"
"""


class BenchSystem:
    """Lamplighter's hooks and workers, until the stack is closed.

    Args:
        cloud: has servers node1, node2, ...
        nodes: the number of nodes.
        source: the fields of the token source; its secret is in the file `secret`.
        secret: the content of that file.
        folder: for all files.
        stack: stops the broker and the workers.
        store: URLs of the state store and the audit store.

    Attributes:
        settings: as the workers read them.
        workers: by name; further power workers are power-2, power-3, ...
    """

    def __init__(  # noqa: PLR0913 - one per part
        self,
        cloud: SimCloud | RealOpenStack,
        *,
        nodes: int,
        source: str,
        secret: str,
        folder: Path,
        stack: ExitStack,
        store: tuple[str, str] = ("sqlite:///state.db", "sqlite:///audit.db"),
    ) -> None:
        self._cloud = cloud
        self._nodes = nodes
        self._project_id = (
            cloud.project_id if isinstance(cloud, RealOpenStack) else credentials.PROJECT_ID
        )
        broker = stack.enter_context(PrivateBroker(folder / "broker"))
        self._config = folder / "lamplighter.toml"
        config = _CONFIG.format(
            broker=", ".join(
                broker_fields(folder, [broker.amqp_url(broker.create_vhost("bench"))])
            ),
            auth_url=cloud.auth_url,
            project_id=self._project_id,
            concurrency=CONCURRENCY,
            source=source,
            nodes=nodes,
            store=store,
        )
        for path, text in ((folder / "secret", secret), (self._config, config)):
            path.touch(mode=0o600)
            path.write_text(text)
        self._folder, self._stack = folder, stack
        self.workers = {name: self._worker(name, name) for name in WORKERS}
        self.settings = load(self._config)
        until(lambda: all_consume(self.settings), 60, "the workers to consume their queues")
        self._audit = connect(self.settings.store.audit_url)
        stack.callback(self._audit.dispose)

    def request(self, kind: str) -> float:
        """Run the hook for all nodes; return the seconds to the last completion in the audit."""
        expected = self.completed() + self._nodes
        began = time.monotonic()
        self.hook(kind)
        self.await_completed(expected)
        return time.monotonic() - began

    def hook(self, kind: str, hosts: str = "") -> float:
        """Run the hook for these nodes, by default all; return how long it ran, in seconds."""
        argv: list[str | Path] = [
            PROGRAMS / f"lamplighter-{kind}",
            hosts or f"node[1-{self._nodes}]",
        ]
        environment = {"LAMPLIGHTER_CONFIG": str(self._config)}
        began = time.monotonic()
        subprocess.run(argv, env=environment, check=True)
        return time.monotonic() - began

    def await_completed(self, expected: int) -> None:
        """Wait until so many requests have completed, since the start."""
        until(lambda: self.completed() >= expected, 900, f"{expected} completions", interval=0.1)

    def kill_power_worker(self) -> None:
        """Kill the power worker, as `kill -9` does."""
        self.workers.pop("power").kill()

    def run_power_workers(self, count: int) -> None:
        """Let this many power workers run; returns when all consume."""
        wanted = ["power", *(f"power-{number}" for number in range(2, count + 1))]
        for name in [name for name in self.workers if name.startswith("power")]:
            if name not in wanted:
                self.workers.pop(name).stop()
        for name in wanted:
            if name not in self.workers:
                self.workers[name] = self._worker("power", name)
        until(lambda: all_consume(self.settings, power_workers=count), 60, f"{count} power workers")

    def cpu(self) -> float:
        """Seconds of CPU that the power workers have used so far."""
        names = [name for name in self.workers if name.startswith("power")]
        times = [psutil.Process(self.workers[name].pid).cpu_times() for name in names]
        return float(sum(one.user + one.system for one in times))

    def terminal_records(self) -> Counter[str]:
        """The number of terminal records of each request in the audit."""
        ends = [str(transition) for transition in Transition if transition.terminal]
        query = (
            sa.select(audit.c.request_id, sa.func.count())
            .where(audit.c.transition.in_(ends))
            .group_by(audit.c.request_id)
        )
        with reading(self._audit) as connection:
            return Counter({str(request): count for request, count in connection.execute(query)})

    def _worker(self, role: str, name: str) -> Child:
        options: list[str | Path] = ["--config", self._config, "worker", role]
        log = self._folder / f"{name}.log"
        child = Child(
            [PROGRAMS / "lamplighter", *options], log=log, env=MINIMAL_ENVIRONMENT, cwd=ROOT
        )
        return self._stack.enter_context(child)

    def request_bare(self, kind: str) -> tuple[float, float]:
        """Do the same with the bare client; return the seconds, and those of its CPU."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.bare_client", self._cloud.auth_url),
                *(credentials.USERNAME, self._project_id, str(CONCURRENCY), ACTIONS[kind]),
            ],
            input=credentials.PASSWORD,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        seconds, cpu = done.stdout.split()
        return float(seconds), float(cpu)

    def completed(self) -> int:
        """How many requests have completed, since the start."""
        return self._recorded([Transition.COMPLETED])

    def ended(self) -> int:
        """How many terminal records the audit has."""
        return self._recorded([one for one in Transition if one.terminal])

    def _recorded(self, transitions: list[Transition]) -> int:
        wanted = audit.c.transition.in_([str(one) for one in transitions])
        query = sa.select(sa.func.count()).where(wanted)
        with reading(self._audit) as connection:
            return int(connection.execute(query).scalar_one())
