"""200 nodes on a real Nova: resumed and suspended, against a bare client with the same concurrency.

From the hook's start to all completions in the audit; the hypervisor alone is simulated, and takes no time.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.table import Figure, render
from tests.testbed.broker import PrivateBroker
from tests.testbed.consumers import all_consume
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until
from tests.testbed.whole_system import PROGRAMS, ROOT, WORKERS
from workers.audit.queries import Filter, find
from workers.config.settings import Settings, load
from workers.store.database import connect, reading

CONCURRENCY = 16
ACTIONS = {"resume": "os-start", "suspend": "os-stop"}


@dataclass
class Bench:
    """A real cloud with so many servers that are out, a broker and our workers."""

    nodes: int
    folder: Path
    stack: ExitStack
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        broker = self.stack.enter_context(PrivateBroker(self.folder / "broker"))
        self.cloud = self.stack.enter_context(RealOpenStack(self.folder / "os"))
        names = [f"node{n}" for n in range(1, self.nodes + 1)]
        for start in range(0, self.nodes, 20):
            self.cloud.add_servers(names[start : start + 20], networks="none")
        self.settings = self._configure(broker.amqp_url(broker.create_vhost("bench")))
        for name in WORKERS:
            command: list[str | Path] = [PROGRAMS / "lamplighter", "--config", self.settings.path]
            child = Child(
                [*command, "worker", name],
                log=self.folder / f"{name}.log",
                env=MINIMAL_ENVIRONMENT,
                cwd=ROOT,
            )
            self.stack.callback(child.stop)
        until(lambda: all_consume(self.settings), 60, "the workers to consume their queues")

    def ours(self, kind: str) -> float:
        """Ask for all nodes; seconds to the last completion."""
        before = self._completed()
        began = time.monotonic()
        subprocess.run(
            [PROGRAMS / f"lamplighter-{kind}", f"node[1-{self.nodes}]"],
            env={"LAMPLIGHTER_CONFIG": str(self.settings.path)},
            check=True,
        )
        until(lambda: self._completed() >= before + self.nodes, 300, f"all to {kind}", interval=0.1)
        return time.monotonic() - began

    def bare(self, kind: str) -> float:
        """The same by the bare client."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.bare_client", self.cloud.auth_url),
                *(credentials.USERNAME, self.cloud.project_id, str(CONCURRENCY), ACTIONS[kind]),
            ],
            input=credentials.PASSWORD,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        return float(done.stdout)

    def _completed(self) -> int:
        engine = connect(self.settings.store.audit_url)
        try:
            with reading(engine) as connection:
                return len(find(connection, Filter(transitions=("completed",), limit=1_000_000)))
        finally:
            engine.dispose()

    def _configure(self, broker_url: str) -> Settings:
        secret, config = self.folder / "refresh.token", self.folder / "lamplighter.toml"
        for path, text in (
            (secret, self.cloud.mint_refresh_token()),
            (
                config,
                f"""
cluster = "bench"
broker = {{ url = "{broker_url}" }}
hooks = {{ spool = "spool", state = "clock" }}
store = {{ url = "sqlite:///state.db", audit_url = "sqlite:///audit.db" }}
log = {{ level = "warning" }}
[clouds.nova]
auth_url = "{self.cloud.auth_url}"
project_id = "{self.cloud.project_id}"
concurrency = {CONCURRENCY}
[clouds.nova.source]
type = "oidc_refresh_token"
refresh_token_file = "refresh.token"
token_endpoint = "{self.cloud.token_endpoint}"
[groups.all]
nodes = "node[1-{self.nodes}]"
cloud = "nova"
""",
            ),
        ):
            path.touch(mode=0o600)
            path.write_text(text)
        return load(config)


def measure(nodes: int, runs: int) -> list[Figure]:
    """Alternate; medians."""
    seconds: dict[tuple[str, str], list[float]] = {}
    calls: list[dict[str, int]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamplighter-")))
        folder.chmod(0o755)
        bench = Bench(nodes, folder, stack)
        for number in range(runs):
            for who in ("ours", "bare"):
                for kind in ACTIONS:
                    bench.cloud.reset_counts()
                    took = getattr(bench, who)(kind)
                    seconds.setdefault((who, kind), []).append(took)
                    if who == "ours":
                        calls.append(bench.cloud.counts())
                    print(f"run {number + 1}, {who}, {kind}: {took:.1f} s", flush=True)
    ours = {kind: statistics.median(seconds["ours", kind]) for kind in ACTIONS}
    bare = {kind: statistics.median(seconds["bare", kind]) for kind in ACTIONS}
    for who, by_kind in (("ours", ours), ("bare", bare)):
        rates = ", ".join(f"{kind} {nodes / took:.1f}/s" for kind, took in by_kind.items())
        print(f"{who}: {rates}")
    print("calls of ours:", calls)
    return [
        *(
            Figure(f"{kind} of {nodes} nodes", ours[kind], 1.15, "s", baseline=bare[kind])
            for kind in ACTIONS
        ),
        Figure(
            f"action calls a node, {nodes} nodes",
            max(call.get("action", 0) for call in calls) / nodes,
            1.02,
        ),
    ]


def main() -> None:
    """`python -m benchmarks.nova [--nodes N] [--runs N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    figures = measure(options.nodes, options.runs)
    print("On a real Nova with a simulated hypervisor", render(figures), sep="\n")


if __name__ == "__main__":
    main()
