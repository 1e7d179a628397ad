"""The power worker's metrics. A node is never a label: there are thousands, and always new ones."""

import time
from collections import Counter as Tally
from collections.abc import Collection, Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from workers.clouds.driver import CloudDriver
from workers.power.node import PendingNode

# A call is answered in a fraction of a second, a sick cloud's after up to the API timeout.
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)


class PowerMetrics:
    """The power worker's metrics; who counts names the labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, namespace="lamplighter", registry=registry)
        gauge = partial(Gauge, namespace="lamplighter", registry=registry)
        self.accepted = counter(
            "requests_accepted", "Requests whose round this worker opened.", ["kind"]
        )
        self.ended = counter(
            "requests_ended", "Rounds of requests that ended, by outcome.", ["kind", "outcome"]
        )
        self.attempts_failed = counter(
            "attempts_failed", "Failed attempts that are followed by another.", ["cause"]
        )
        self.parked = counter(
            "requests_parked", "Requests parked with their attempts unchanged.", ["cause"]
        )
        self.boots_failed = counter(
            "boots_failed", "Resumes that failed for good.", ["cloud", "cause"]
        )
        self.calls = Histogram(
            "lamplighter_cloud_call_duration_seconds",
            "Calls to a cloud's API, from sending to the answer.",
            ["cloud", "action", "result"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._limit = gauge(
            "cloud_calls_limit", "Calls in flight that a cloud may get now.", ["cloud"]
        )
        self._in_flight = gauge("cloud_calls_in_flight", "Calls under way.", ["cloud"])
        self._well = gauge("cloud_well", "Whether a cloud lists and acts: 1 or 0.", ["cloud"])
        self._pending = gauge("nodes_pending", "Nodes that this worker reconciles.", ["cloud"])
        self._oldest = gauge(
            "pending_request_age_max_seconds", "Age of the oldest request that this worker holds."
        )

    def observe(self, nodes: Collection[PendingNode], clouds: Iterable[CloudDriver]) -> None:
        """Note the present state; belongs to the engine's thread."""
        here = Tally(node.group.cloud for node in nodes)
        oldest = min((r.command.generation for n in nodes for r in n.requests), default=None)
        for cloud in clouds:
            self._limit.labels(cloud.name).set(int(cloud.limiter.window))
            self._in_flight.labels(cloud.name).set(cloud.in_flight)
            self._well.labels(cloud.name).set(cloud.health.well and not cloud.away)
            self._pending.labels(cloud.name).set(here[cloud.name])
        self._oldest.set(max(0.0, (time.time_ns() - oldest) / 1e9) if oldest else 0.0)
