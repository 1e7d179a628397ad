"""Faults of a RabbitMQ cluster, and what they cost a whole system that goes on with its requests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.testbed.waiting import until
from workers.broker.topology import RESUME_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.testbed.broker import PrivateBroker
    from tests.testbed.broker_cluster import BrokerCluster
    from tests.testbed.whole_system import HookKind, WholeSystem


@dataclass(frozen=True)
class FaultCost:
    """What a fault cost; seconds.

    Attributes:
        hook: the slowest hook while the fault lasted.
        workers: from the fault until a request that was made after it has ended; None if that
            needs the end of the fault.
    """

    hook: float
    workers: float | None


class ClusterTrouble:
    """A whole system on a cluster, and the requests that go on while a fault lasts."""

    def __init__(self, cluster: BrokerCluster, system: WholeSystem, vhost: str) -> None:
        self.cluster = cluster
        self.system = system
        self._vhost = vhost
        self._turn: HookKind = "resume"

    def leader(self) -> PrivateBroker:
        """The node that leads the most important queue."""
        return self.cluster.leader(self._vhost, RESUME_QUEUE)

    def others(self) -> list[PrivateBroker]:
        """The other nodes."""
        leader = self.leader()
        return [node for node in self.cluster.nodes if node is not leader]

    def request_all(self) -> float:
        """Turn all nodes on, or off again; the hook's seconds."""
        return self.request(self.system.everything, self._next_turn())

    def request(self, nodes: str, turn: HookKind) -> float:
        """Run a hook; it always ends with status 0. Its seconds."""
        began = time.monotonic()
        done = self.system.request(turn, nodes)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - began

    def survive(self, fault: Callable[[], None], *, served: bool = True) -> FaultCost:
        """Make requests before and after a fault; if it is `served`, they end while it lasts."""
        hooks = [self.request_all()]
        before = self.system.requests
        fault()
        began = time.monotonic()
        turn = self._next_turn()
        hooks += [self.request(node, turn) for node in self.system.nodes[:3]]
        if not served:
            return FaultCost(max(hooks), None)
        until(lambda: len(self.system.ended()) > before, 20, "the end of a request after the fault")
        seconds = time.monotonic() - began
        self.system.settle()
        return FaultCost(max(hooks), seconds)

    def _next_turn(self) -> HookKind:
        now = self._turn
        self._turn = "suspend" if now == "resume" else "resume"
        return now
