"""Resume and suspend of 200 nodes on a real Nova: from the start of the hook to the last completion.

The baseline is a bare client with the same concurrency. Only the hypervisor is simulated; it takes no time.
"""

import argparse
import statistics
from contextlib import ExitStack

from benchmarks.results import publish
from benchmarks.system import ACTIONS, BenchSystem
from benchmarks.table import Figure, counted_runs
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
            for who in ("ours", "bare"):
                for kind in ACTIONS:
                    cloud.reset_counts()
                    if who == "ours":
                        took = system.request(kind)
                        calls.append(cloud.counts())
                    else:
                        took, _ = system.request_bare(kind)
                    seconds.setdefault((who, kind), []).append(took)
                    print(f"run {number + 1}, {who}, {kind}: {took:.1f} s", flush=True)
    medians = {
        who: {kind: statistics.median(seconds[who, kind]) for kind in ACTIONS}
        for who in ("ours", "bare")
    }
    for who, by_kind in medians.items():
        rates = ", ".join(f"{kind} {nodes / took:.1f}/s" for kind, took in by_kind.items())
        print(f"{who}: {rates}")
    print("calls of ours:", calls)
    action_calls = max(call.get("action", 0) for call in calls) / nodes
    return [
        *(
            Figure(
                f"{kind} of {nodes} nodes",
                medians["ours"][kind],
                1.08,
                "s",
                baseline=medians["bare"][kind],
            )
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
    publish(
        f"Resume and suspend of {options.nodes} nodes on a real Nova",
        f"From the start of the hook to the last completion in the audit; {counted_runs(options.runs)}. The baseline "
        "is a bare client of the same SDK with the same concurrency and poll interval. Only the hypervisor is "
        "simulated; it takes no time.",
        figures,
    )


if __name__ == "__main__":
    main()
