"""A RabbitMQ cluster of three private nodes on loopback."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import requests

from tests.testbed.broker import PrivateBroker
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3
_PAUSE_SECONDS = 40.0
SETTINGS = {
    "cluster_formation.peer_discovery_backend": "classic_config",
    # A node that hangs is noticed in about this many seconds; as docs/broker-cluster.md says.
    "net_ticktime": "4",
}


class BrokerCluster:
    """Three nodes, of which any may be killed, frozen or cut off; use as a context manager.

    Attributes:
        nodes: in the order of the addresses that clients try.
    """

    def __init__(self, folder: Path, partition_handling: str = "pause_minority") -> None:
        first = PrivateBroker(folder / "node0")
        more = (PrivateBroker(folder / f"node{n}", joined=first) for n in range(1, SIZE))
        self.nodes = [first, *more]
        settings = SETTINGS | {"cluster_partition_handling": partition_handling}
        names = {
            f"cluster_formation.classic_config.nodes.{number}": node.node.name
            for number, node in enumerate(self.nodes, 1)
        }
        for node in self.nodes:
            node.configure({**settings, **names})
        self._is_cut = False
        self._resources = ExitStack()
        for node in self.nodes:
            self._resources.callback(node.close)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def start(self) -> None:
        """Start the nodes that do not run, and wait until all see each other."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.start()
        until(self.is_whole, 60, "a cluster of three")

    def is_whole(self) -> bool:
        """Whether each node runs and sees all others."""
        try:
            return all(len(node.api.running_nodes()) == SIZE for node in self.nodes)
        except requests.RequestException:
            return False

    def urls(self, vhost: str) -> list[str]:
        """The addresses of all nodes."""
        return [node.amqp_url(vhost) for node in self.nodes]

    def leader(self, vhost: str, queue: str) -> PrivateBroker:
        """The node that leads a queue."""
        for node in self.nodes:
            if node.running.running:
                name = node.api.queue(vhost, queue)["leader"]
                return next(one for one in self.nodes if one.node.name == name)
        raise RuntimeError("no node runs")

    def mend(self) -> None:
        """Undo all faults, and wait for the whole cluster.

        A node that hung is started again: once the others have given it up, it stays apart. So is
        one that has paused and does not come back: RabbitMQ 4.0.5 can hang in its pause.
        """
        for node in self.nodes:
            if node.is_frozen:
                node.kill()
        if self._is_cut:
            self.heal()
            for node in self.nodes:
                if node.running.running and not node.is_up_within(_PAUSE_SECONDS):
                    node.kill()
        self.start()

    def settle(self) -> None:
        """Make all nodes save their lists of quorum queues, as `PrivateBroker.settle`."""
        each = "N <- [node() | nodes()], Table <- rpc:call(N, dets, all, [])"
        self.nodes[0].ctl("eval", f"[ok = rpc:call(N, dets, sync, [Table]) || {each}].")

    def cut_off(self, node: PrivateBroker) -> None:
        """Cut the connections between a node and the others; `heal` undoes it."""
        self._is_cut = True
        node.refuse(*(other for other in self.nodes if other is not node))

    def heal(self) -> None:
        """Let all nodes connect to each other again."""
        for node in self.nodes:
            node.accept(*(other for other in self.nodes if other is not node))
        self._is_cut = False
