"""Memory of the power worker's engine over a day of a million requests, on a stepped clock.

The engine and its SQLite store are real; the broker and the cloud answer at once, in this process. The
baseline is the memory after the first tenth of the requests. With far fewer requests than a million, that
is too early: caches of the process, among them SQLite's, still fill up.
"""

import argparse
import gc
import time
from pathlib import Path

from benchmarks.results import Chart, publish
from benchmarks.table import Figure
from benchmarks.timing import temporary_folder
from tests.testbed.longday import LongDay

NODES = 1000
# Shares of the requests after which memory is measured; the first one is the baseline.
_SHARES = (0.1, 0.5, 1.0)
_GROWTH = 1.05


def measure(requests: int) -> tuple[list[Figure], list[tuple[float, float]]]:
    """The figures for this many requests, and the MB by the number of requests that have ended."""
    memory = []
    with temporary_folder() as folder, LongDay(folder, nodes=NODES) as day:
        began = time.process_time()
        for share in _SHARES:
            day.run(int(requests * share))
            memory.append(_resident())
            print(
                f"{int(requests * share):,} requests ended, {day.hours:.1f} h of the day, "
                f"{time.process_time() - began:.0f} s of CPU: {memory[-1]:.1f} MB",
                flush=True,
            )
        seconds = time.process_time() - began
        outcomes = day.outcomes()
        ended = outcomes.get("completed", 0) + outcomes.get("superseded", 0)
    first, *later = memory
    figures = [
        *(
            Figure(
                f"resident memory after {requests * share:,.0f} requests",
                megabytes,
                aim=_GROWTH,
                unit="MB",
                baseline=first,
            )
            for share, megabytes in zip(_SHARES[1:], later, strict=True)
        ),
        Figure("requests that have not ended", requests - ended, aim=0),
        Figure("CPU of a request, of all in this process", 1000 * seconds / requests, 3.0, "ms"),
    ]
    ended_at = (float(int(requests * share)) for share in _SHARES)
    return figures, list(zip(ended_at, memory, strict=True))


def _resident() -> float:
    """MB of this process in memory."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """`python -m benchmarks.memory [--requests N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1_000_000)
    options = parser.parse_args()
    figures, points = measure(options.requests)
    publish(
        f"Memory of the power worker's engine over {options.requests:,} requests",
        "12 requests a second over 1,000 nodes on a stepped clock. The engine and its SQLite store are real; the "
        "broker and the cloud answer at once, in the same process. The baseline is the memory after the first "
        "tenth of the requests.",
        figures,
        charts=[
            Chart("memory", "Resident memory", "requests ended", "MB", {"power worker": points})
        ],
    )


if __name__ == "__main__":
    main()
