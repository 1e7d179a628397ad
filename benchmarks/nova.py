"""Resume and suspend of 200 nodes on a real Nova: from the start of the hook to the last completion.

The baseline is a bare client with the same concurrency. Only the hypervisor is simulated; it takes no time.
"""

import argparse
import statistics
from contextlib import ExitStack

from benchmarks.system import ACTIONS, BenchSystem
from benchmarks.table import Figure, render
from benchmarks.timing import temporary_folder
from tests.testbed.openstack.handle import RealOpenStack

_SERVERS_PER_CALL = 20


def measure(nodes: int, runs: int) -> list[Figure]:
    """Return the figures: medians of alternating runs."""
    seconds: dict[tuple[str, str], list[float]] = {}
    calls: list[dict[str, int]] = []
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        cloud = stack.enter_context(RealOpenStack(folder / "os"))
        names = [f"node{n}" for n in range(1, nodes + 1)]
        for start in range(0, nodes, _SERVERS_PER_CALL):
            cloud.add_servers(names[start : start + _SERVERS_PER_CALL], networks="none")
        system = BenchSystem(
            cloud,
            nodes=nodes,
            source=(
                'type = "oidc_refresh_token", refresh_token_file = "secret", '
                f'token_endpoint = "{cloud.token_endpoint}"'
            ),
            secret=cloud.mint_refresh_token(),
            folder=folder,
            stack=stack,
        )
        for number in range(runs):
            for who, request in (("ours", system.request), ("bare", system.request_bare)):
                for kind in ACTIONS:
                    cloud.reset_counts()
                    took = request(kind)
                    seconds.setdefault((who, kind), []).append(took)
                    if who == "ours":
                        calls.append(cloud.counts())
                    print(f"run {number + 1}, {who}, {kind}: {took:.1f} s", flush=True)
    ours = {kind: statistics.median(seconds["ours", kind]) for kind in ACTIONS}
    bare = {kind: statistics.median(seconds["bare", kind]) for kind in ACTIONS}
    for who, by_kind in (("ours", ours), ("bare", bare)):
        rates = ", ".join(f"{kind} {nodes / took:.1f}/s" for kind, took in by_kind.items())
        print(f"{who}: {rates}")
    print("calls of ours:", calls)
    action_calls = max(call.get("action", 0) for call in calls) / nodes
    return [
        *(
            Figure(f"{kind} of {nodes} nodes", ours[kind], 1.15, "s", baseline=bare[kind])
            for kind in ACTIONS
        ),
        Figure(f"action calls per node, {nodes} nodes", action_calls, 1.02),
    ]


def main() -> None:
    """`python -m benchmarks.nova [--nodes N] [--runs N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    figures = measure(options.nodes, options.runs)
    print("A real Nova with a simulated hypervisor", render(figures), sep="\n")


if __name__ == "__main__":
    main()
