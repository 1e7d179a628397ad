"""Memory and CPU of `lamplighter up` and its workers while nothing happens, with a real slurmctld.

Memory is proportional (PSS of smaps_rollup, proc(5)): a page that n processes share counts for a nth.
CPU includes the programs that the workers run, such as scontrol. It is the second start of `up`: the
first one migrates the stores, and two workers keep the 18 MB of Alembic until they start again.
"""

import argparse
import time
from pathlib import Path

import psutil

from benchmarks.results import publish
from benchmarks.table import Figure
from benchmarks.timing import temporary_folder
from tests.testbed.cluster import Cluster, ClusterPlan
from tests.testbed.waiting import until

PROCESSES = 8
MEGABYTES, PERCENT = 200.0, 1.0
# The product's default; a plan of the test bed has a shorter one.
_SNAPSHOT_INTERVAL = 60.0


def measure(seconds: float) -> list[Figure]:
    """The figures; `seconds` is the time over which CPU is measured."""
    with (
        temporary_folder() as folder,
        Cluster(folder, ClusterPlan(snapshot_interval=_SNAPSHOT_INTERVAL)) as cluster,
    ):
        assert cluster.workers is not None
        cluster.workers.stop()
        cluster.start_workers()
        up = psutil.Process(cluster.workers.pid)
        until(lambda: _settled(up), 60, "the workers to settle")
        before, began = _cpu(up), time.monotonic()
        time.sleep(seconds)  # the measurement itself
        percent = 100 * (_cpu(up) - before) / (time.monotonic() - began)
        for process in _all(up):
            print(f"{_memory(process):6.1f} MB  {' '.join(process.cmdline())[-60:]}")
        count, megabytes = len(_all(up)), sum(map(_memory, _all(up)))
    return [
        Figure("processes", count, PROCESSES),
        Figure("proportional memory of all", megabytes, MEGABYTES, "MB"),
        Figure("CPU of all, of one core", percent, PERCENT, "%"),
    ]


def _all(up: psutil.Process) -> list[psutil.Process]:
    """`up` and its workers, without the programs that they run."""
    return [up, *up.children()]


def _settled(up: psutil.Process) -> bool:
    """Whether the workers use little CPU: they have started."""
    before = _cpu(up)
    time.sleep(2.0)
    return len(_all(up)) >= PROCESSES and _cpu(up) - before < 2 * PERCENT / 100 * 2


def _cpu(up: psutil.Process) -> float:
    """Seconds of CPU of all processes, and of their children that have ended."""
    return float(sum(sum(process.cpu_times()[:4]) for process in _all(up))) - sum(
        up.cpu_times()[2:4]  # workers that have ended
    )


def _memory(process: psutil.Process) -> float:
    """MB of proportional memory."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """`python -m benchmarks.idle [--seconds N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds: float = parser.parse_args().seconds
    figures = measure(seconds)
    publish(
        "Idle: `lamplighter up` and its workers with a real slurmctld",
        f"Memory is proportional: a page that n processes share counts for a nth. CPU, over {seconds:g} s, includes "
        "the programs that the workers run, such as scontrol.",
        figures,
    )


if __name__ == "__main__":
    main()
