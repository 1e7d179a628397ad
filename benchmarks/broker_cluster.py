"""300 requests over 50 nodes on a cluster of three RabbitMQ nodes, through all faults of one or two.

Each fault begins while requests are open; afterwards the audit, the cloud and all events are checked:
nothing is lost, doubled or restarted by hand.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.results import publish
from benchmarks.table import Figure
from benchmarks.timing import temporary_folder
from tests.testbed.broker_cluster import BrokerCluster
from tests.testbed.cluster_faults import ClusterTrouble, FaultCost
from tests.testbed.whole_system import WORKERS, SystemPlan, WholeSystem

# The aims, in seconds.
HOOK_SECONDS = 4.0
WORKER_SECONDS = 10.0


def faults(trouble: ClusterTrouble) -> dict[str, Callable[[], None]]:
    """What happens to the cluster, by name."""
    cluster = trouble.cluster

    def restart_each() -> None:
        for node in cluster.nodes:
            node.restart()

    def lose_quorum() -> None:
        for node in cluster.nodes[:2]:
            node.kill()

    return {
        "first address hangs": cluster.nodes[0].freeze,
        "leader killed": lambda: trouble.leader().kill(),
        "node hangs": lambda: trouble.leader().freeze(),
        "node cut off": lambda: cluster.cut_off(cluster.nodes[0]),
        "rolling restart": restart_each,
        "quorum lost": lose_quorum,
    }


def measure(nodes: int, folder: Path) -> list[Figure]:
    """The figures for a fleet of this size."""
    with BrokerCluster(folder / "cluster") as cluster:
        vhost = cluster.nodes[0].create_vhost()
        plan = SystemPlan(nodes=nodes, boot=1.0)
        with WholeSystem(
            folder / "system", cluster.urls(vhost), plan, start=(*WORKERS, "relay")
        ) as system:
            trouble = ClusterTrouble(cluster, system, vhost)
            figures = []
            for name, fault in faults(trouble).items():
                cluster.settle()
                cost = trouble.survive(fault, served=name != "quorum lost")
                cluster.mend()
                system.settle(120)
                print(f"{name}: {cost}", flush=True)
                figures += _figures(name, cost)
            system.check()
            requests = system.requests
    return [*figures, Figure(f"requests lost or doubled, of {requests}", 0, aim=0)]


def _figures(name: str, cost: FaultCost) -> list[Figure]:
    hook = Figure(f"{name}: slowest hook", cost.hook, HOOK_SECONDS, "s")
    if cost.workers is None or name == "rolling restart":  # its own length counts, not ours
        return [hook]
    return [hook, Figure(f"{name}: open requests end", cost.workers, WORKER_SECONDS, "s")]


def main() -> None:
    """`python -m benchmarks.broker_cluster [--nodes N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=50)
    nodes: int = parser.parse_args().nodes
    with temporary_folder() as folder:
        figures = measure(nodes, folder)
    publish(
        f"{nodes} nodes and a cluster of three RabbitMQ nodes, through its faults",
        "Each fault begins while requests are open; afterwards audit, cloud and all events are checked. The times "
        "are those of the slowest hook, and until all open requests have ended.",
        figures,
    )


if __name__ == "__main__":
    main()
