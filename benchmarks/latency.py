"""The time that we add: from the start of the hook to the arrival of the start call at the cloud."""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack

from benchmarks.fleet import LATENCY, FleetBench
from benchmarks.results import Table, publish
from benchmarks.table import Figure
from tests.testbed.waiting import until

BOOT = 1.0
IDLE, BEHIND = 120.0, 1000.0
# Seconds between two hook calls while the suspends are carried out.
_PAUSE = 0.5


class LatencyBench(FleetBench):
    """Nodes 1 to `runs` are resumed; `queued` further ones are suspended."""

    def __init__(self, runs: int, queued: int, stack: ExitStack) -> None:
        super().__init__(runs + queued, stack, boot=BOOT)
        self._runs, self._queued = runs, queued

    def idle(self) -> tuple[list[float], list[float]]:
        """The ms of each call and of its hook, when nothing else happens; the cloud answers at once."""
        self.cloud.set_latency(0.0)
        began, hooks = {}, []
        for number in range(1, self._runs + 1):
            expected = self.system.completed() + 1
            began[f"node{number}"] = time.time()
            hooks.append(1000 * self.system.hook("resume", f"node{number}"))
            self.system.await_completed(expected)
        return self._took(began), hooks

    def behind(self) -> list[float]:
        """The ms of each call that is made before the last suspend is carried out."""
        self.cloud.set_latency(LATENCY)
        self.power(on=True)
        for number in range(1, self._runs + 1):
            self.cloud.set_power(f"node{number}", on=False)
        began = {}
        self.system.hook("suspend", f"node[{self._runs + 1}-{self._runs + self._queued}]")
        for number in range(1, self._runs + 1):
            began[f"node{number}"] = time.time()
            self.system.hook("resume", f"node{number}")
            time.sleep(_PAUSE)  # so that the calls are spread over the backlog
        until(self._all_stopped, 900, "all suspends", interval=1.0)
        return self._took(began)

    def _all_stopped(self) -> bool:
        counts = self.cloud.counts()
        return counts.get("stop", 0) >= self._queued and counts.get("start", 0) >= self._runs

    def _took(self, began: dict[str, float]) -> list[float]:
        calls = self.cloud.call_counts().action_calls
        self.cloud.reset_counts()
        end = max((call.at for call in calls if call.kind == "stop"), default=time.time())
        starts = {call.server: call.at for call in reversed(calls) if call.kind == "start"}
        return [1000 * (starts[node] - at) for node, at in began.items() if at < end]


def main() -> None:
    """`python -m benchmarks.latency [--runs N] [--queued N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=31)
    parser.add_argument("--queued", type=int, default=10_000)
    options = parser.parse_args()
    queued: int = options.queued
    with ExitStack() as stack:
        bench = LatencyBench(options.runs, queued, stack)
        bench.cloud.reset_counts()
        idle, hooks = bench.idle()
        behind = bench.behind()
    rows: list[list[str | float | None]] = [
        [name, len(times), min(times), statistics.median(times), max(times)]
        for name, times in (
            ("idle", idle),
            ("idle, the hook's process", hooks),
            (f"behind {queued:,} suspends", behind),
        )
    ]
    publish(
        "From the hook's call to the start call",
        "From the start of the hook's process until the cloud receives the start call, for one node a call. Idle, "
        f"the cloud answers at once; behind the suspends, which one hook call has queued, a request takes "
        f"{LATENCY * 1000:g} ms, and only resumes count that were asked for before the last stop call.",
        [
            Figure("hook's call to start call, idle, median", statistics.median(idle), IDLE, "ms"),
            Figure(
                "the same against the hook's process alone",
                statistics.median(idle),
                unit="ms",
                baseline=statistics.median(hooks),
            ),
            Figure(
                f"hook's call to start call behind {queued:,} queued suspends, median",
                statistics.median(behind),
                BEHIND,
                "ms",
            ),
        ],
        tables=[Table("The spread, in ms:", ["when", "calls", "least", "median", "most"], rows)],
    )


if __name__ == "__main__":
    main()
