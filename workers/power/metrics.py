"""What the power worker counts. No node is ever a label: there are thousands, for ever new ones."""

import time
from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.commands import Kind
from schemas.events import Cause, RequestEvent, Transition
from workers.clouds.driver import CloudDriver
from workers.power.node_work import Work

# A call is answered in a fraction of a second, a sick cloud's after up to the API timeout.
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)
_NS = 1_000_000_000
_EVERY = 1.0


class PowerMetrics:
    """The power worker's figures. `calls` and the counters may be used by any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._accepted = Counter(
            "lamplighter_requests_accepted",
            "Requests whose round this worker has opened.",
            ["kind"],
            registry=registry,
        )
        self._ended = Counter(
            "lamplighter_requests_ended",
            "Rounds of requests that have ended, by outcome.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._attempts_failed = Counter(
            "lamplighter_attempts_failed",
            "Attempts that failed and are made again.",
            ["cause"],
            registry=registry,
        )
        self._parked = Counter(
            "lamplighter_requests_parked",
            "Requests sent to rest with their attempts unchanged.",
            ["cause"],
            registry=registry,
        )
        self._boots_failed = Counter(
            "lamplighter_boots_failed",
            "Resumes that failed for good.",
            ["cloud", "cause"],
            registry=registry,
        )
        self._calls = Histogram(
            "lamplighter_cloud_call_duration_seconds",
            "Calls to a cloud's API, from sending to the answer.",
            ["cloud", "action", "result"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._limit = Gauge(
            "lamplighter_cloud_calls_limit",
            "Calls in flight that a cloud is trusted to take now.",
            ["cloud"],
            registry=registry,
        )
        self._in_flight = Gauge(
            "lamplighter_cloud_calls_in_flight", "Calls under way.", ["cloud"], registry=registry
        )
        self._well = Gauge(
            "lamplighter_cloud_well",
            "Whether a cloud lists and acts: 1, else 0.",
            ["cloud"],
            registry=registry,
        )
        self._pending = Gauge(
            "lamplighter_nodes_pending",
            "Nodes that this worker reconciles.",
            ["cloud"],
            registry=registry,
        )
        self._oldest = Gauge(
            "lamplighter_pending_request_age_max_seconds",
            "Since the oldest request that this worker holds was asked.",
            registry=registry,
        )
        self._next = 0.0

    def accepted(self, kind: Kind) -> None:
        """A request's round was opened."""
        self._accepted.labels(kind).inc()

    def ended(self, event: RequestEvent) -> None:
        """A round has ended so."""
        self._ended.labels(event.kind, event.transition).inc()
        if event.transition is Transition.FAILED and event.kind is Kind.RESUME:
            cause = event.cause.error if event.cause else "unknown"
            self._boots_failed.labels(event.cloud or "none", cause).inc()

    def retried(self, cause: Cause) -> None:
        """An attempt has failed; another will be made."""
        self._attempts_failed.labels(cause.error).inc()

    def parked(self, cause: Cause) -> None:
        """A request was sent to rest."""
        self._parked.labels(cause.error).inc()

    def called(self, cloud: str, action: str, result: str, seconds: float) -> None:
        """A cloud has answered a call or a listing, or has not."""
        self._calls.labels(cloud, action, result).observe(seconds)

    def look(self, works: Iterable[Work], sites: Iterable[CloudDriver]) -> None:
        """Note how things stand, once a second; belongs to the engine's thread."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        here: Tally[str] = Tally()
        oldest = None
        for work in works:
            here[work.group.cloud] += 1
            for request in work.pending:
                oldest = min(oldest or request.command.generation, request.command.generation)
        for site in sites:
            self._limit.labels(site.name).set(int(site.pace.window))
            self._in_flight.labels(site.name).set(site.in_flight)
            self._well.labels(site.name).set(site.health.well)
            self._pending.labels(site.name).set(here[site.name])
        self._oldest.set(max(0.0, (time.time_ns() - oldest) / _NS) if oldest else 0.0)
