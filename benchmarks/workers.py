"""Resume and suspend of a fleet by 1, 2 and 4 power workers that share one PostgreSQL store.

The baseline is one worker in the same run. Each run checks from the audit that each request has exactly
one terminal record, and from the simulated cloud that each node got one start and one stop.
"""

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.fleet import BOOT, CALLS, LATENCY, PASSWORD_SOURCE
from benchmarks.results import Chart, publish
from benchmarks.system import BenchSystem
from benchmarks.table import Figure, counted_runs
from benchmarks.timing import temporary_folder
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud


@dataclass(frozen=True)
class SharedRun:
    """One action on all nodes by several workers.

    Attributes:
        seconds: from the start of the hook to the last completion in the audit.
        cpu: seconds of CPU of all power workers.
        wrong: requests without exactly one terminal record, and nodes without exactly one call.
    """

    seconds: float
    cpu: float
    wrong: int


class WorkersBench:
    """A simulated cloud with servers, a PostgreSQL, and Lamplighter with one power worker."""

    def __init__(self, nodes: int, stack: ExitStack) -> None:
        self._nodes = nodes
        folder = stack.enter_context(temporary_folder())
        self._cloud = stack.enter_context(SimCloud())
        self._cloud.set(boot_seconds=BOOT, stop_seconds=0.1, latency_seconds=LATENCY)
        self._cloud.add_servers([f"node{number}" for number in range(1, nodes + 1)])
        postgresql = stack.enter_context(PostgreSQL(folder / "postgresql", settings=()))
        self._system = BenchSystem(
            self._cloud,
            nodes=nodes,
            source=PASSWORD_SOURCE,
            secret=credentials.PASSWORD,
            folder=folder,
            stack=stack,
            store=(postgresql.create_database(), postgresql.create_database()),
        )
        self._system.request("suspend")

    def run(self, workers: int) -> dict[str, SharedRun]:
        """Resume all nodes with this many power workers, then suspend them."""
        self._system.run_power_workers(workers)
        return {kind: self._act(kind) for kind in CALLS}

    def _act(self, kind: str) -> SharedRun:
        before = self._system.terminal_records()
        cpu = self._system.cpu()
        self._cloud.reset_counts()
        seconds = self._system.request(kind)
        cpu = self._system.cpu() - cpu
        ended = self._system.terminal_records() - before
        counts = self._cloud.call_counts()
        made = Counter(call.server for call in counts.action_calls if call.kind == CALLS[kind])
        others = len(counts.action_calls) - made.total()
        wrong = doubled_or_missing(ended, self._nodes) + doubled_or_missing(made, self._nodes)
        return SharedRun(seconds, cpu, wrong + others)


def doubled_or_missing(found: Counter[str], wanted: int) -> int:
    """How many were found another time than once; and how many more or fewer there are than wanted."""
    return sum(number != 1 for number in found.values()) + abs(wanted - len(found))


def measure(nodes: int, runs: int, workers: Sequence[int]) -> list[Figure]:
    """The figures for a fleet of this size; runs with different numbers of workers alternate."""
    done: dict[tuple[int, str], list[SharedRun]] = {}
    with ExitStack() as stack:
        bench = WorkersBench(nodes, stack)
        for _ in range(runs):
            for number in workers:
                for kind, run in bench.run(number).items():
                    done.setdefault((number, kind), []).append(run)
                    print(
                        f"{kind} by {number}: {run.seconds:.1f} s, {run.cpu:.1f} s of CPU, "
                        f"{run.wrong} wrong",
                        flush=True,
                    )
    figures = []
    for (number, kind), same in done.items():
        base = done.get((1, kind), []) if number != 1 else []
        figures.append(
            Figure(
                _name(kind, nodes, number),
                statistics.median([run.seconds for run in same]),
                # with none to compare with, only the duration is of interest
                aim=1.05 if base else 300.0,
                unit="s",
                baseline=statistics.median([run.seconds for run in base]) if base else None,
            )
        )
    wrong = sum(run.wrong for same in done.values() for run in same)
    return [*figures, Figure("requests or nodes doubled or forgotten", wrong, aim=0)]


def main() -> None:
    """`python -m benchmarks.workers [--nodes N] [--runs N] [--workers N ...]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    options = parser.parse_args()
    figures = measure(options.nodes, options.runs, options.workers)
    lines = {
        kind: [
            (float(number), figure.ours)
            for number in options.workers
            for figure in figures
            if figure.name == _name(kind, options.nodes, number)
        ]
        for kind in CALLS
    }
    publish(
        f"Resume and suspend of {options.nodes:,} nodes by several power workers",
        f"They share one PostgreSQL store on the simulated cloud (a boot takes {BOOT:g} s, a request "
        f"{LATENCY * 1000:g} ms); {counted_runs(options.runs)}. The baseline is one worker in the same run. Audit and cloud are "
        "checked: one terminal record a request, one start and one stop a node.",
        figures,
        charts=[
            Chart(
                "workers",
                f"{options.nodes:,} nodes by several workers",
                "power workers",
                "s",
                lines,
            )
        ],
    )


def _name(kind: str, nodes: int, workers: int) -> str:
    return f"{kind} of {nodes} nodes by {workers} power workers"


if __name__ == "__main__":
    main()
