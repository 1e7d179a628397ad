"""What one process tells of the whole site, read anew for each scrape: queues, nodes, logins.

The audit worker tells it: it watches, and nothing waits for it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator

import sqlalchemy as sa
import structlog
from pika.exceptions import AMQPError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from producers.amqp import connection_parameters
from workers.broker import depths
from workers.broker.blocking import blocking_channel
from workers.broker.topology import DEAD_LETTER_QUEUE
from workers.config.settings import Settings
from workers.resync.drift import Drift
from workers.store import overview, snapshots
from workers.store.database import AWAY, reading
from workers.store.power_state import PowerState

_NS = 1_000_000_000
_NO_GROUP = "none"


class InstallationMetrics(Collector):
    """The site's figures. What cannot be read is left out, and told by `lamplighter_readable`."""

    def __init__(self, settings: Settings, store: sa.Engine) -> None:
        self._settings = settings
        self._store = store

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering asks neither broker nor store."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        readable = GaugeMetricFamily(
            "lamplighter_readable", "Whether a part of the site can be read.", labels=["part"]
        )
        for part, read in (("broker", self._queues), ("store", self._nodes)):
            found = _read(part, read)
            readable.add_metric([part], float(found is not None))
            yield from found or ()
        yield readable

    def _queues(self) -> list[Metric]:
        messages = GaugeMetricFamily(
            "lamplighter_queue_messages", "Messages ready in a queue.", labels=["queue"]
        )
        consumers = GaugeMetricFamily(
            "lamplighter_queue_consumers", "Consumers of a queue.", labels=["queue"]
        )
        letters = GaugeMetricFamily("lamplighter_dead_letters", "Letters that wait for a person.")
        with blocking_channel(connection_parameters(self._settings.broker, "metrics")) as channel:
            found = depths.queue_depths(channel)
        for queue in found:
            if queue.ready is None or queue.consumers is None:
                continue
            messages.add_metric([queue.name], queue.ready)
            consumers.add_metric([queue.name], queue.consumers)
            if queue.name == DEAD_LETTER_QUEUE:
                letters.add_metric([], queue.ready)
        return [messages, consumers, letters]

    def _nodes(self) -> list[Metric]:
        now = time.time_ns()
        cluster, groups = self._settings.cluster, self._settings.nodes
        with reading(self._store) as connection:
            powers = overview.node_powers(connection, cluster)
            under_way = overview.open_requests(connection, cluster)
            ends = overview.refresh_token_ends(connection)
            drifts = overview.drift_counts(connection, cluster)
            snapshot = snapshots.received(connection, cluster)
        counts = Counter((groups.get(n.node, _NO_GROUP), n.power) for n in powers.values())
        untouched = Counter(group for node, group in groups.items() if node not in powers)
        for group, count in untouched.items():
            counts[group, PowerState.OFF] += count
        nodes = GaugeMetricFamily(
            "lamplighter_nodes",
            "Nodes by what is wanted and was seen; failed are those that are not as wanted.",
            labels=["group", "state"],
        )
        for group in sorted({*self._settings.groups, *(group for group, _ in counts)}):
            for state in PowerState:
                nodes.add_metric([group, state], counts[group, state])
        oldest = GaugeMetricFamily(
            "lamplighter_open_request_age_max_seconds",
            "Since the oldest request without an outcome was asked; 0 where there is none.",
        )
        age = (now - under_way[0].generation) / _NS if under_way else 0.0
        oldest.add_metric([], max(0.0, age))
        requests = GaugeMetricFamily(
            "lamplighter_requests_open", "Requests accepted that have no outcome yet."
        )
        requests.add_metric([], len(under_way))
        logins = GaugeMetricFamily(
            "lamplighter_refresh_token_left_seconds",
            "Until a cloud's refresh token ends unless it is used.",
            labels=["cloud"],
        )
        for cloud, end in sorted(ends.items()):
            logins.add_metric([cloud], (end - now) / _NS)
        astray = GaugeMetricFamily(
            "lamplighter_drifts", "What is not as Slurm wants it, by kind.", labels=["kind"]
        )
        for kind in Drift:
            if kind is not Drift.NONE:
                astray.add_metric([kind], drifts.get(kind, 0))
        view = GaugeMetricFamily(
            "lamplighter_snapshot_age_seconds", "Since Slurm's view came; none where it never has."
        )
        if snapshot is not None:
            view.add_metric([], snapshot.age)
        return [nodes, oldest, requests, logins, astray, view]


def _read(part: str, read: Callable[[], list[Metric]]) -> list[Metric] | None:
    try:
        return read()
    except (AMQPError, OSError, *AWAY) as error:
        structlog.get_logger().warning("metrics_unreadable", part=part, error=type(error).__name__)
        return None
