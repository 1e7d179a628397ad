"""A backlog of 100,000 requests, made while no power worker ran: how few calls carry it out."""

import argparse
import time
from contextlib import ExitStack

from benchmarks.fleet import FleetBench
from benchmarks.results import publish
from benchmarks.table import Figure
from tests.testbed.waiting import until

BOOT = 5.0
# A call more for every twentieth node is close to one call a node.
CALLS_A_NODE = 1.05


def measure(nodes: int, calls: int) -> list[Figure]:
    """The figures for so many hook calls, each for all nodes: by turns suspend and resume."""
    requests = nodes * calls
    with ExitStack() as stack:
        bench = FleetBench(nodes, stack, boot=BOOT)
        bench.system.run_power_workers(1)
        bench.system.kill_power_worker()
        before, records = bench.system.ended(), bench.system.terminal_records()
        bench.cloud.reset_counts()
        hooks = [
            bench.system.hook("suspend" if (calls - number) % 2 else "resume")
            for number in range(1, calls + 1)
        ]
        began = time.monotonic()
        bench.system.run_power_workers(1)
        until(lambda: bench.system.ended() - before >= requests, 3600, "the backlog", interval=0.5)
        seconds = time.monotonic() - began
        ends = bench.system.terminal_records() - records
        actions = len(bench.cloud.call_counts().action_calls)
        off = sum(server.status != "ACTIVE" for server in bench.cloud.servers().values())
    wrong = abs(requests - len(ends)) + sum(count != 1 for count in ends.values()) + off
    return [
        Figure(
            "start and stop calls, against the number of nodes", actions, CALLS_A_NODE, "", nodes
        ),
        Figure("requests without exactly one end, and nodes that are off", wrong, 0),
        Figure("from the worker's start until all have ended", seconds, unit="s"),
        Figure("requests ended per second", requests / seconds),
        Figure(f"slowest of {calls} hook calls", max(hooks), unit="s"),
    ]


def main() -> None:
    """`python -m benchmarks.backlog [--nodes N] [--calls N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    publish(
        f"A backlog of {options.nodes * options.calls:,} requests",
        f"While no power worker runs, {options.calls} hook calls ask for all of {options.nodes:,} nodes, by turns to "
        f"suspend and to resume them; the last one resumes. Then a worker starts. A boot takes {BOOT:g} s.",
        measure(options.nodes, options.calls),
    )


if __name__ == "__main__":
    main()
