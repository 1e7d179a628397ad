"""Resume of a fleet: from the hook's start to all ACTIVE with every completion in the audit.

Against a bare client of the same SDK with the same calls, concurrency and poll interval; runs
alternate, medians of five. The cloud is simulated: 20 s to boot, 50 ms a request.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.table import Figure, render
from tests.testbed.broker import PrivateBroker
from tests.testbed.consumers import all_consume
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.waiting import until
from workers.config.settings import load
from workers.store.database import connect, reading
from workers.store.tables import audit

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
CONCURRENCY = 16
BOOT = 20.0
LATENCY = 0.05


@dataclass(frozen=True)
class Run:
    """One run of ours.

    Attributes:
        seconds: from the hook's start to the last completion in the audit.
        calls: at the cloud meanwhile, by kind.
        tokens: scoped tokens issued to us before.
        peak: memory of the power worker in MB.
    """

    seconds: float
    calls: dict[str, int]
    tokens: int
    peak: float


class Bench:
    """A broker, a cloud with so many servers, and the workers, on a folder of their own."""

    def __init__(self, nodes: int, stack: ExitStack) -> None:
        self._nodes = nodes
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamplighter-")))
        folder.chmod(0o755)
        broker = stack.enter_context(PrivateBroker(folder / "broker"))
        self._cloud = stack.enter_context(SimCloud())
        self._cloud.set(boot_seconds=BOOT, stop_seconds=0.1, latency_seconds=LATENCY)
        self._cloud.add_servers([f"node{n}" for n in range(1, nodes + 1)])
        self._config = folder / "lamplighter.toml"
        for name, text in {
            "cloud.password": credentials.PASSWORD,
            "lamplighter.toml": f"""
cluster = "bench"
broker = {{ url = "{broker.amqp_url(broker.create_vhost("bench"))}" }}
hooks = {{ spool = "spool", state = "clock" }}
store = {{ url = "sqlite:///state.db", audit_url = "sqlite:///audit.db" }}
log = {{ level = "warning" }}
[clouds.simulated]
auth_url = "{self._cloud.auth_url}"
project_id = "{credentials.PROJECT_ID}"
concurrency = {CONCURRENCY}
source = {{ type = "password", username = "{credentials.USERNAME}", password_file = "cloud.password" }}
[groups.all]
nodes = "node[1-{nodes}]"
cloud = "simulated"
""",
        }.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)
        self._power = [self._worker(stack, folder, n) for n in ("tokens", "audit", "power")][-1]
        settings = load(self._config)
        until(lambda: all_consume(settings), 60, "the workers to consume their queues")
        self._audit = connect(settings.store.audit_url)
        stack.callback(self._audit.dispose)
        self._hook("suspend")
        until(lambda: self._ended() == nodes, 120, "the first suspend")

    def ours(self) -> Run:
        """Resume all through Lamplighter."""
        self._all_out()
        before, tokens = self._ended(), self._cloud.counts().get("token_password", 0)
        self._cloud.reset_counts()
        began = time.monotonic()
        self._hook("resume")
        until(lambda: self._ended() >= before + self._nodes, 300, "all completions", interval=0.1)
        seconds = time.monotonic() - began
        statuses = {server.status for server in self._cloud.servers().values()}
        if statuses != {"ACTIVE"}:
            raise RuntimeError(f"not all servers are ACTIVE: {statuses}")
        status = Path(f"/proc/{self._power.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return Run(seconds, self._cloud.counts(), tokens, int(peak.split()[1]) / 1024)

    def bare(self) -> float:
        """Resume all by the bare client; seconds."""
        self._all_out()
        self._cloud.reset_counts()
        command = [sys.executable, "-m", "benchmarks.bare_client", self._cloud.auth_url]
        command += [credentials.USERNAME, credentials.PROJECT_ID, str(CONCURRENCY), "os-start"]
        done = subprocess.run(
            command,
            input=credentials.PASSWORD,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        self._cloud.reset_counts()
        return float(done.stdout)

    def _all_out(self) -> None:
        self._cloud.set_power("*", on=False)
        names = list(self._cloud.servers())
        self._cloud.await_status(names, "SHUTOFF", timeout_seconds=60)

    def _hook(self, kind: str) -> None:
        subprocess.run(
            [PROGRAMS / f"lamplighter-{kind}", f"node[1-{self._nodes}]"],
            env={"LAMPLIGHTER_CONFIG": str(self._config)},
            check=True,
        )

    def _ended(self) -> int:
        with reading(self._audit) as connection:
            query = sa.select(sa.func.count()).where(audit.c.transition == "completed")
            return int(connection.execute(query).scalar_one())

    def _worker(self, stack: ExitStack, folder: Path, name: str) -> Child:
        command: list[str | Path] = [PROGRAMS / "lamplighter", "--config", self._config]
        command += ["worker", name]
        return stack.enter_context(
            Child(command, log=folder / f"{name}.log", env=MINIMAL_ENVIRONMENT, cwd=ROOT)
        )


def measure(nodes: int, runs: int, most_more: float) -> list[Figure]:
    """The figures for a fleet of so many nodes."""
    ours, bare = [], []
    with ExitStack() as stack:
        bench = Bench(nodes, stack)
        for number in range(runs):
            ours.append(bench.ours())
            bare.append(bench.bare())
            print(f"{nodes} nodes, run {number + 1}: {ours[-1].seconds:.1f} s, {bare[-1]:.1f} s")
    seconds = statistics.median([run.seconds for run in ours])
    polls = seconds + 1  # one a second, and the one that begins
    listings = statistics.median([run.calls["list_detail"] for run in ours])
    tokens = ours[0].tokens + sum(run.calls.get("token_password", 0) for run in ours)
    starts = max(run.calls["start"] for run in ours) / nodes
    peak = max(run.peak for run in ours)
    return [
        Figure(
            f"resume of {nodes} nodes",
            seconds,
            aim=most_more,
            unit="s",
            baseline=statistics.median(bare),
            difference=True,
        ),
        Figure(f"start calls a node, {nodes} nodes", starts, aim=1.02),
        Figure(f"listings a poll, {nodes} nodes", listings / polls, aim=1.0),
        Figure(f"scoped tokens issued for {runs} such runs", tokens, aim=1),
        Figure(f"peak memory of the power worker, {nodes} pending", peak, aim=150, unit="MB"),
    ]


def main() -> None:
    """`python -m benchmarks.fleet [--runs N] [--nodes N ...]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--nodes", type=int, nargs="*", default=[100, 1000])
    options = parser.parse_args()
    figures = []
    for nodes in options.nodes:
        figures += measure(nodes, options.runs, 1.0 if nodes <= 100 else 3.0)  # noqa: PLR2004
    print("Resume of a fleet (boot 20 s, 50 ms a request)", render(figures), sep="\n")


if __name__ == "__main__":
    main()
