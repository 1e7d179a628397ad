"""Lamplighter beside two peers: one script that starts servers one after the other, and one with threads.

All act on the same simulated cloud in the same run: until all servers are ACTIVE, when the cloud answers a
tenth of the calls that start or stop a server with 500, and when the program that calls the cloud is killed half-way.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.fleet import CALLS, LATENCY, FleetBench
from benchmarks.results import Chart, Table, publish
from benchmarks.table import Figure, counted
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT

BOOT = 5.0
OURS, BLOCKING, THREADED = "Lamplighter", "one after the other", "a thread a node"
PROGRAMS = {BLOCKING: "blocking", THREADED: "threaded"}
# The share of start or stop calls that the cloud answers with 500.
ERRORS = 0.1


@dataclass(frozen=True)
class Outcome:
    """What one of them did to so many nodes.

    Attributes:
        seconds: until it had done all that it would do.
        calls: to the cloud.
        hook: seconds for which Slurm's call was held up.
        wrong: servers that are off although resumed, or run although suspended, when all is at rest.
    """

    seconds: float
    calls: int
    hook: float
    wrong: int


class PeerBench(FleetBench):
    """So many nodes, all of which each one resumes or suspends."""

    def __init__(self, nodes: int, boot: float, stack: ExitStack) -> None:
        super().__init__(nodes, stack, boot=boot)
        self._nodes = nodes

    def run(self, who: str, kind: str = "resume", *, killed: bool = False) -> Outcome:
        """Let one of them act on all nodes; `killed`: once half the nodes have their call."""
        self.power(on=kind == "suspend")
        self.cloud.set_latency(LATENCY)
        began = time.monotonic()
        act = self._ours if who == OURS else self._peer
        hook = act(PROGRAMS.get(who, ""), kind, killed=killed)
        seconds = time.monotonic() - began
        calls = sum(self.cloud.counts().values())
        self._await_rest()
        wanted = "ACTIVE" if kind == "resume" else "SHUTOFF"
        wrong = sum(one.status != wanted for one in self.cloud.servers().values())
        print(f"{who}: {kind} {self._nodes}: {seconds:.1f} s, {wrong} wrong", flush=True)
        return Outcome(seconds, calls, hook, wrong)

    def answer_500(self, kind: str) -> None:
        """Let the cloud answer some of its start or stop calls with 500, until `clear_faults`."""
        self.cloud.inject(Fault(effect=Answer(status=500), kind=CALLS[kind], probability=ERRORS))

    def _ours(self, _: str, kind: str, *, killed: bool) -> float:
        expected = self.system.completed() + self._nodes
        hook = self.system.hook(kind)
        if killed:
            self._half(kind)
            self.system.kill_power_worker()
            self.system.run_power_workers(1)
        self.system.await_completed(expected)
        return hook

    def _peer(self, how: str, kind: str, *, killed: bool) -> float:
        began = time.monotonic()
        argv = [sys.executable, "-m", "benchmarks.peer_client", self.cloud.auth_url]
        argv += [credentials.USERNAME, credentials.PROJECT_ID, how, kind, str(self._nodes)]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
        ) as peer:
            assert peer.stdin is not None
            peer.stdin.write(f"{credentials.PASSWORD}\n".encode())
            peer.stdin.close()
            if killed:
                self._half(kind)
                peer.kill()
            peer.wait()
        return time.monotonic() - began

    def _await_rest(self) -> None:
        """Wait until no work is under way, and half a second brings no answer to an earlier call."""
        answered = [-1]

        def rests() -> bool:
            answered.append(len(self.cloud.call_counts().action_calls))
            return answered[-1] == answered[-2] and not self.cloud.state().tasks

        until(rests, 120, "the cloud to rest", interval=0.5)

    def _half(self, kind: str) -> None:
        until(
            lambda: self.cloud.counts().get(CALLS[kind], 0) >= self._nodes / 2,
            600,
            "half the calls",
            interval=0.01,
        )


def speed(nodes: list[int], threaded: list[int], boot: float) -> dict[tuple[str, int], Outcome]:
    """The resume of so many nodes by each; of `threaded` nodes by all but the blocking script."""
    found = {}
    for count in sorted({*nodes, *threaded}):
        with ExitStack() as stack:
            bench = PeerBench(count, boot, stack)
            for who in (OURS, THREADED, *((BLOCKING,) if count in nodes else ())):
                found[who, count] = bench.run(who)
                if found[who, count].wrong:
                    raise RuntimeError(f"{who}: not all {count} nodes are ACTIVE")
    return found


def trouble(nodes: int, boot: float) -> dict[tuple[str, str], Outcome]:
    """What errors and kills do to so many nodes, by what happens and by whom."""
    found = {}
    with ExitStack() as stack:
        bench = PeerBench(nodes, boot, stack)
        for kind in CALLS:
            for who in (OURS, BLOCKING, THREADED):
                bench.answer_500(kind)
                found[f"{kind}, a tenth of the {CALLS[kind]} calls answered with 500", who] = (
                    bench.run(who, kind)
                )
                bench.cloud.clear_faults()
                killed = bench.run(who, kind, killed=True)
                found[f"{kind}, killed half-way", who] = killed
    return found


def main() -> None:
    """`python -m benchmarks.peers [--nodes N ...] [--threaded N ...] [--troubled N] [--boot SECONDS]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 10, 100])
    parser.add_argument("--threaded", type=int, nargs="*", default=[1000])
    parser.add_argument("--troubled", type=int, default=20)
    parser.add_argument("--boot", type=float, default=BOOT)
    options = parser.parse_args()
    # a connection a thread
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fast = speed(options.nodes, options.threaded, options.boot)
    hard = trouble(options.troubled, options.boot)
    lines: dict[str, list[tuple[float, float]]] = {}
    hooks: dict[str, list[tuple[float, float]]] = {}
    for (who, count), one in fast.items():
        lines.setdefault(who, []).append((count, one.seconds))
        hooks.setdefault(who, []).append((count, one.hook))
    publish(
        "Lamplighter beside two peers",
        "The peers are the shortest programs for ResumeProgram and SuspendProgram that one can write with the OpenStack "
        "SDK: one starts a server, waits until it is ACTIVE and goes on to the next; one does so in a thread for each "
        "node. They act on the same simulated cloud in the same run: a boot takes "
        f"{options.boot:g} s, a request {LATENCY * 1000:g} ms. The hook is held up until its program ends. Killed, with "
        "kill -9, is what calls the cloud, once half the nodes have their call: the peer's program, which nobody "
        "starts again, or our power worker, which is started again as systemd does. A resumed node is lost if its "
        "server is off, a suspended one leaked if its server runs, when nothing moves any more.",
        _figures(fast, hard),
        charts=[
            Chart("peers", "Resume: until all nodes are ACTIVE", "nodes", "s", lines),
            Chart("peers-hook", "Resume: how long Slurm's hook is held up", "nodes", "s", hooks),
        ],
        tables=[
            Table(
                "Resume, all goes well:",
                [
                    "who",
                    "nodes",
                    "s until all are ACTIVE",
                    "calls",
                    "calls a node",
                    "s of the hook",
                ],
                [
                    [who, count, one.seconds, one.calls, one.calls / count, one.hook]
                    for (who, count), one in fast.items()
                ],
            ),
            Table(
                f"{options.troubled} nodes, trouble:",
                ["what happens", "who", "s until it ends", "calls", "lost or leaked"],
                [
                    [what, who, one.seconds, one.calls, one.wrong]
                    for (what, who), one in hard.items()
                ],
            ),
        ],
    )


def _figures(
    fast: dict[tuple[str, int], Outcome], hard: dict[tuple[str, str], Outcome]
) -> list[Figure]:
    figures = []
    for (who, count), peer in fast.items():
        if who != OURS:
            ours, against = fast[OURS, count], f"of {counted(count)}, against {who}"
            figures += [
                Figure(f"resume {against}", ours.seconds, None, "s", peer.seconds),
                Figure(f"calls {against}", ours.calls, None, "", peer.calls),
                Figure(f"hook {against}", ours.hook, None, "s", peer.hook),
            ]
    lost = sum(one.wrong for (_, who), one in hard.items() if who == OURS)
    return [*figures, Figure("nodes lost or leaked by us in trouble", lost, aim=0)]


if __name__ == "__main__":
    main()
