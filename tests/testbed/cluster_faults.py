"""Faults of a RabbitMQ cluster, and what they cost a whole system that goes on with its requests."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.testbed.waiting import until
from workers.broker.topology import RESUME_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.testbed.broker import PrivateBroker
    from tests.testbed.broker_cluster import BrokerCluster
    from tests.testbed.whole_system import HookKind, WholeSystem

_LATER = 3


@dataclass(frozen=True)
class FaultCost:
    """What a fault cost; seconds.

    Attributes:
        hook: the slowest hook while the fault lasted.
        workers: from the fault until all requests that were made just before it have ended; None if
            that needs the end of the fault.
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

    def survive(self, fault: Callable[[], None], *, served: bool = True) -> FaultCost:
        """Make requests before and after a fault; if it is `served`, they end while it lasts."""
        turn = self._next_turn()
        hooks = [self._request(self.system.everything, turn)]
        before = self.system.requests
        fault()
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(self._request_some, self._next_turn())
            if served:
                until(lambda: len(self.system.ended()) >= before, 120, "the ends of all requests")
            workers = time.monotonic() - began if served else None
            hooks += later.result()
        if served:
            self.system.settle()
        return FaultCost(max(hooks), workers)

    def _request_some(self, turn: HookKind) -> list[float]:
        """Requests of single nodes, one after the other, over several seconds of a fault."""
        return [self._request(node, turn) for node in self.system.nodes[:_LATER]]

    def _request(self, nodes: str, turn: HookKind) -> float:
        """Run a hook, which must end with status 0; its seconds."""
        began = time.monotonic()
        done = self.system.request(turn, nodes)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - began

    def _next_turn(self) -> HookKind:
        now = self._turn
        self._turn = "suspend" if now == "resume" else "resume"
        return now
