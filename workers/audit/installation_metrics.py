"""Gauges of the whole installation, read for each scrape: queues, nodes, logins.

The audit worker exports them, because a slow scrape there delays no power request.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import sqlalchemy as sa
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from producers.amqp import connection_parameters
from workers.broker.blocking import blocking_channel
from workers.broker.depths import queue_depths
from workers.broker.topology import AUDIT_QUEUE, DEAD_LETTER_QUEUE
from workers.config.settings import Settings
from workers.errors import BrokerError, NoQuorumError
from workers.resync.drift import Drift
from workers.store import overview, snapshots
from workers.store.database import STORE_ERRORS, reading
from workers.store.heartbeats import heartbeats
from workers.store.overview import NodePower
from workers.store.power_state import PowerState

_NS = 1_000_000_000
_NO_GROUP = "none"
# All names begin with lamplighter_.
_DESCRIPTIONS = {
    "readable": "Whether the broker or the store can be read.",
    "queue_messages": "Messages ready in a queue.",
    "queue_consumers": "Consumers of a queue.",
    "queues_missing": "Queues that do not exist: what is meant for them takes no effect.",
    "dead_letters": "Dead letters that wait for an operator.",
    "nodes": "Nodes by power state; failed: not as wanted, and no request is open.",
    "open_request_age_max_seconds": "Age of the oldest request without an outcome; 0 if there is none.",
    "requests_open": "Accepted requests without an outcome.",
    "refresh_token_left_seconds": "Time until a cloud's refresh token expires, unless it is used.",
    "drifts": "Nodes and servers that differ from what Slurm wants, by kind.",
    "worker_problems": "Workers of a kind with a problem, or silent; lamplighter status has the words.",
    "snapshot_age_seconds": "Age of the latest snapshot of Slurm's nodes; absent if there is none.",
}
# By the values of a gauge's labels.
_Values: TypeAlias = dict[tuple[str, ...], float]


class InstallationMetrics(Collector):
    """Reads the gauges. Parts that cannot be read are left out; `lamplighter_readable` shows which."""

    def __init__(self, settings: Settings, store: sa.Engine) -> None:
        self._settings = settings
        self._store = store

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering reads neither broker nor store."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read all gauges."""
        readable: _Values = {}
        for part, read in (("broker", self._broker_gauges), ("store", self._store_gauges)):
            found = _read(part, read)
            readable[part,] = float(found is not None)
            yield from found or ()
        yield _gauge("readable", readable, "part")

    def _broker_gauges(self) -> list[Metric]:
        parameters = connection_parameters(self._settings.broker, "metrics")
        with blocking_channel(parameters) as channel:
            depths = queue_depths(channel)
        if any(q.name == AUDIT_QUEUE and q.consumers == 0 for q in depths):
            # we are its consumer: the broker counts 0 of everything for a queue without a leader
            raise NoQuorumError("the counts of the queues are not known")
        ready: _Values = {(q.name,): q.ready for q in depths if q.ready is not None}
        consumers: _Values = {(q.name,): q.consumers for q in depths if q.consumers is not None}
        missing = sum(q.ready is None for q in depths)
        letters = ready.get((DEAD_LETTER_QUEUE,))
        return [
            _gauge("queue_messages", ready, "queue"),
            _gauge("queue_consumers", consumers, "queue"),
            _gauge("queues_missing", _single(missing)),
            _gauge("dead_letters", _single(letters)),
        ]

    def _store_gauges(self) -> list[Metric]:
        now, cluster = time.time_ns(), self._settings.cluster
        with reading(self._store) as connection:
            nodes = overview.node_powers(connection, cluster)
            open_requests = overview.open_requests(connection, cluster)
            expiries = overview.refresh_token_expiries(connection)
            drifts = overview.drift_counts(connection, cluster)
            snapshot = snapshots.snapshot_age(connection, cluster)
            beats = heartbeats(connection, cluster)
        oldest = (now - open_requests[0].generation) / _NS if open_requests else 0.0
        left: _Values = {(cloud,): (end - now) / _NS for cloud, end in sorted(expiries.items())}
        troubled = Counter(one.role for one in beats if one.has_problem or one.is_silent(now))
        problems: _Values = {(role,): troubled[role] for role in {one.role for one in beats}}
        kinds: _Values = {(kind,): drifts.get(kind, 0) for kind in Drift if kind is not Drift.NONE}
        return [
            _gauge("nodes", self._node_counts(nodes), "group", "state"),
            _gauge("open_request_age_max_seconds", _single(max(0.0, oldest))),
            _gauge("requests_open", _single(len(open_requests))),
            _gauge("refresh_token_left_seconds", left, "cloud"),
            _gauge("drifts", kinds, "kind"),
            _gauge("worker_problems", problems, "worker"),
            _gauge("snapshot_age_seconds", _single(None if snapshot is None else snapshot.age)),
        ]

    def _node_counts(self, nodes: Mapping[str, NodePower]) -> _Values:
        """Numbers of nodes by group and power state; nodes without requests are off."""
        groups = self._settings.nodes
        counts = Counter((groups.get(node.node, _NO_GROUP), node.power) for node in nodes.values())
        counts.update(
            (group, PowerState.OFF) for node, group in groups.items() if node not in nodes
        )
        names = sorted({*self._settings.groups, *(group for group, _ in counts)})
        return {(name, state): counts[name, state] for name in names for state in PowerState}


def _single(value: float | None) -> _Values:
    """The value of a gauge without labels; None leaves it out."""
    return {} if value is None else {(): value}


def _gauge(name: str, values: _Values, *labels: str) -> Metric:
    gauge = GaugeMetricFamily(f"lamplighter_{name}", _DESCRIPTIONS[name], labels=labels)
    for key, value in values.items():
        gauge.add_metric(key, value)
    return gauge


def _read(part: str, read: Callable[[], list[Metric]]) -> list[Metric] | None:
    try:
        return read()
    except (BrokerError, OSError, *STORE_ERRORS) as error:
        structlog.get_logger().warning("metrics_unreadable", part=part, error=type(error).__name__)
        return None
