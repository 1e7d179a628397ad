"""Resume and suspend of a fleet: from the start of the hook to the last completion in the audit.

The baseline is a bare client of the same SDK with the same calls, concurrency and poll interval. Runs
alternate; figures are medians. The cloud is simulated: a boot takes 20 s, a request 50 ms.
"""

import argparse
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Chart, publish
from benchmarks.system import ACTIONS, BenchSystem
from benchmarks.table import Figure, counted, counted_runs
from benchmarks.timing import temporary_folder
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud

BOOT, STOP = 20.0, 0.1
LATENCY = 0.05
# A node that waits costs memory: the aim is for up to so many.
MOST_MB, MEMORY_NODES = 150, 5000
# Number of nodes: seconds that Lamplighter may take longer than the bare client.
AIMS = {100: 1.0, 1000: 2.0, 5000: 8.0, 10_000: 18.0}
PASSWORD_SOURCE = (
    f'type = "password", username = "{credentials.USERNAME}", password_file = "secret"'
)
CALLS = {"resume": "start", "suspend": "stop"}


@dataclass(frozen=True)
class Run:
    """One run of Lamplighter.

    Attributes:
        seconds: from the start of the hook to the last completion in the audit.
        calls: calls to the cloud during the run, by kind.
        peak: peak memory of the power worker, MB.
        cpu: seconds of CPU of the power worker.
    """

    seconds: float
    calls: dict[str, int]
    peak: float
    cpu: float


class FleetBench:
    """A simulated cloud with servers node1 to nodeN, which are off, and Lamplighter."""

    def __init__(self, nodes: int, stack: ExitStack, *, boot: float = BOOT) -> None:
        self.cloud = stack.enter_context(SimCloud())
        self.cloud.set(boot_seconds=boot, stop_seconds=STOP, latency_seconds=LATENCY)
        self.cloud.add_servers([f"node{n}" for n in range(1, nodes + 1)])
        self.system = BenchSystem(
            self.cloud,
            nodes=nodes,
            source=PASSWORD_SOURCE,
            secret=credentials.PASSWORD,
            folder=stack.enter_context(temporary_folder()),
            stack=stack,
        )
        self.system.request("suspend")
        self.tokens = self.cloud.counts().get("token_password", 0)

    def ours(self, kind: str) -> Run:
        """Resume or suspend all nodes with Lamplighter."""
        self.power(on=kind == "suspend")
        cpu = self.system.cpu()
        seconds = self.system.request(kind)
        cpu = self.system.cpu() - cpu
        wanted = {"resume": "ACTIVE", "suspend": "SHUTOFF"}[kind]
        statuses = {server.status for server in self.cloud.servers().values()}
        if statuses != {wanted}:
            raise RuntimeError(f"not all servers are {wanted}: {statuses}")
        status = Path(f"/proc/{self.system.workers['power'].pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        counts = self.cloud.counts()
        self.tokens += counts.get("token_password", 0)
        return Run(seconds, counts, int(peak.split()[1]) / 1024, cpu)

    def bare(self, kind: str) -> tuple[float, float]:
        """Do the same with the bare client; return the seconds, and those of its CPU."""
        self.power(on=kind == "suspend")
        return self.system.request_bare(kind)

    def power(self, *, on: bool) -> None:
        """Switch all servers by another way than the API, and count calls from now on."""
        self.cloud.set_power("*", on=on)
        names = list(self.cloud.servers())
        self.cloud.await_status(names, "ACTIVE" if on else "SHUTOFF", timeout_seconds=60)
        self.cloud.reset_counts()


def measure(nodes: int, runs: int, boot: float, max_difference: float) -> list[Figure]:
    """Return the figures for a fleet of this size."""
    ours: dict[str, list[Run]] = {kind: [] for kind in ACTIONS}
    bare: dict[str, list[tuple[float, float]]] = {kind: [] for kind in ACTIONS}
    with ExitStack() as stack:
        bench = FleetBench(nodes, stack, boot=boot)
        for _ in range(runs):
            for kind in ACTIONS:
                ours[kind].append(bench.ours(kind))
                bare[kind].append(bench.bare(kind))
                took = f"{ours[kind][-1].seconds:.1f} s, bare client {bare[kind][-1][0]:.1f} s"
                print(f"{kind} of {nodes} nodes: {took}", flush=True)
    figures = []
    for kind in ACTIONS:
        figures += _figures(kind, nodes, ours[kind], bare[kind], max_difference)
    peak = max(run.peak for kind in ACTIONS for run in ours[kind])
    most = MOST_MB if nodes <= MEMORY_NODES else None
    return [
        *figures,
        Figure(f"scoped tokens issued for all of this, {counted(nodes)}", bench.tokens, aim=1),
        Figure(f"peak memory of the power worker, {nodes} pending", peak, aim=most, unit="MB"),
    ]


def _figures(
    kind: str, nodes: int, ours: list[Run], bare: list[tuple[float, float]], more: float
) -> list[Figure]:
    seconds = statistics.median([run.seconds for run in ours])
    listings = statistics.median([run.calls["list_detail"] for run in ours])
    cpu = 1000 * statistics.median([run.cpu for run in ours]) / nodes
    return [
        Figure(
            name(kind, nodes),
            seconds,
            aim=more,
            unit="s",
            baseline=statistics.median([took for took, _ in bare]),
            difference=True,
        ),
        Figure(
            f"{CALLS[kind]} calls per node, {counted(nodes)}",
            max(run.calls[CALLS[kind]] for run in ours) / nodes,
            aim=1.02,
        ),
        Figure(
            f"all calls per node, {kind} of {counted(nodes)}",
            statistics.median([sum(run.calls.values()) for run in ours]) / nodes,
        ),
        # one per second, and the first
        Figure(f"listings per poll, {kind} of {counted(nodes)}", listings / (seconds + 1), aim=1.0),
        Figure(
            f"CPU of the power worker per node, {kind} of {counted(nodes)}",
            cpu,
            # below, the polls of both cost more than the nodes
            aim=2.0 if nodes >= min(AIMS) else None,
            unit="ms",
            baseline=1000 * statistics.median([used for _, used in bare]) / nodes,
        ),
    ]


def name(kind: str, nodes: int) -> str:
    """The name of the main figure."""
    return f"{kind} of {counted(nodes)}"


def most_seconds_more(nodes: int) -> float:
    """Seconds that Lamplighter may take longer than the bare client."""
    return next((most for fleet, most in AIMS.items() if nodes <= fleet), 18.0)


def main() -> None:
    """`python -m benchmarks.fleet [--runs N] [--nodes N ...] [--boot SECONDS]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 10, 100, 1000, 5000, 10_000])
    parser.add_argument("--boot", type=float, default=BOOT)
    options = parser.parse_args()
    figures: list[Figure] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    for nodes in options.nodes:
        found = measure(nodes, options.runs, options.boot, most_seconds_more(nodes))
        figures += found
        for kind in ACTIONS:
            figure = next(one for one in found if one.name == name(kind, nodes))
            assert figure.baseline is not None
            lines.setdefault(kind, []).append((nodes, figure.ours))
            lines.setdefault(f"{kind}, bare client", []).append((nodes, figure.baseline))
    publish(
        "Resume and suspend of a fleet",
        f"From the start of the hook to the last completion in the audit, on the simulated cloud: a boot takes "
        f"{options.boot:g} s, a stop {STOP:g} s, a request {LATENCY * 1000:g} ms. The baseline is a bare client of the same "
        f"SDK with the same calls, concurrency and poll interval. Figures are of {counted_runs(options.runs)}.",
        figures,
        charts=[
            Chart(
                f"fleet-{kind}",
                f"{kind} of a fleet",
                "nodes",
                "s",
                {"Lamplighter": lines[kind], "bare client": lines[f"{kind}, bare client"]},
            )
            for kind in ACTIONS
        ],
    )


if __name__ == "__main__":
    main()
