"""Resume of a fleet: from the start of the hook to the last completion in the audit.

The baseline is a bare client of the same SDK with the same calls, concurrency and poll interval. Runs
alternate; figures are medians. The cloud is simulated: a boot takes 20 s, a request 50 ms.
"""

import argparse
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.system import BenchSystem
from benchmarks.table import Figure, render
from benchmarks.timing import temporary_folder
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud

BOOT = 20.0
LATENCY = 0.05
# Number of nodes: seconds that Lamplighter may take longer than the bare client.
AIMS = {100: 1.0, 1000: 2.0, 5000: 8.0, 10_000: 18.0}
PASSWORD_SOURCE = (
    f'type = "password", username = "{credentials.USERNAME}", password_file = "secret"'
)


@dataclass(frozen=True)
class Run:
    """One run of Lamplighter.

    Attributes:
        seconds: from the start of the hook to the last completion in the audit.
        calls: calls to the cloud during the run, by kind.
        tokens: scoped tokens issued before the run.
        peak: peak memory of the power worker, MB.
        cpu: seconds of CPU of the power worker.
    """

    seconds: float
    calls: dict[str, int]
    tokens: int
    peak: float
    cpu: float


class FleetBench:
    """A simulated cloud with servers, and Lamplighter."""

    def __init__(self, nodes: int, stack: ExitStack) -> None:
        self._cloud = stack.enter_context(SimCloud())
        self._cloud.set(boot_seconds=BOOT, stop_seconds=0.1, latency_seconds=LATENCY)
        self._cloud.add_servers([f"node{n}" for n in range(1, nodes + 1)])
        self._system = BenchSystem(
            self._cloud,
            nodes=nodes,
            source=PASSWORD_SOURCE,
            secret=credentials.PASSWORD,
            folder=stack.enter_context(temporary_folder()),
            stack=stack,
        )
        self._system.request("suspend")

    def ours(self) -> Run:
        """Resume all nodes with Lamplighter."""
        self._power_off()
        tokens = self._cloud.counts().get("token_password", 0)
        self._cloud.reset_counts()
        cpu = self._system.cpu()
        seconds = self._system.request("resume")
        cpu = self._system.cpu() - cpu
        statuses = {server.status for server in self._cloud.servers().values()}
        if statuses != {"ACTIVE"}:
            raise RuntimeError(f"not all servers are ACTIVE: {statuses}")
        status = Path(f"/proc/{self._system.workers['power'].pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return Run(seconds, self._cloud.counts(), tokens, int(peak.split()[1]) / 1024, cpu)

    def bare(self) -> tuple[float, float]:
        """Resume all nodes with the bare client; return the seconds, and those of its CPU."""
        self._power_off()
        used = self._system.request_bare("resume")
        self._cloud.reset_counts()
        return used

    def _power_off(self) -> None:
        self._cloud.set_power("*", on=False)
        names = list(self._cloud.servers())
        self._cloud.await_status(names, "SHUTOFF", timeout_seconds=60)


def measure(nodes: int, runs: int, max_difference: float) -> list[Figure]:
    """Return the figures for a fleet of this size."""
    ours, bare = [], []
    with ExitStack() as stack:
        bench = FleetBench(nodes, stack)
        for number in range(runs):
            ours.append(bench.ours())
            bare.append(bench.bare())
            print(f"{nodes} nodes, run {number + 1}: {ours[-1].seconds:.1f} s, {bare[-1][0]:.1f} s")
    seconds = statistics.median([run.seconds for run in ours])
    polls = seconds + 1  # one per second, and the first
    listings = statistics.median([run.calls["list_detail"] for run in ours])
    tokens = ours[0].tokens + sum(run.calls.get("token_password", 0) for run in ours)
    starts = max(run.calls["start"] for run in ours) / nodes
    peak = max(run.peak for run in ours)
    cpu = 1000 * statistics.median([run.cpu for run in ours]) / nodes
    bare_cpu = 1000 * statistics.median([used for _, used in bare]) / nodes
    return [
        Figure(
            f"resume of {nodes} nodes",
            seconds,
            aim=max_difference,
            unit="s",
            baseline=statistics.median([seconds for seconds, _ in bare]),
            difference=True,
        ),
        Figure(f"start calls per node, {nodes} nodes", starts, aim=1.02),
        Figure(f"listings per poll, {nodes} nodes", listings / polls, aim=1.0),
        Figure(f"scoped tokens issued for {runs} such runs", tokens, aim=1),
        Figure(f"peak memory of the power worker, {nodes} pending", peak, aim=150, unit="MB"),
        Figure(
            f"CPU of the power worker per node and action, {nodes} nodes",
            cpu,
            aim=2.0,
            unit="ms",
            baseline=bare_cpu,
        ),
    ]


def most_seconds_more(nodes: int) -> float:
    """Seconds that Lamplighter may take longer than the bare client."""
    return next((most for fleet, most in AIMS.items() if nodes <= fleet), 18.0)


def main() -> None:
    """`python -m benchmarks.fleet [--runs N] [--nodes N ...]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--nodes", type=int, nargs="*", default=[100, 1000, 5000])
    options = parser.parse_args()
    figures = []
    for nodes in options.nodes:
        figures += measure(nodes, options.runs, most_seconds_more(nodes))
    print("Resume of a fleet (boot 20 s, 50 ms per request)", render(figures), sep="\n")


if __name__ == "__main__":
    main()
