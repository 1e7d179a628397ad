"""Defines the token service's metrics, collected for each scrape."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from workers.tokens.rpc import TokenReport


class TokenMetrics(Collector):
    """The metrics of all logins; `reports` gives the state of each cloud's token."""

    def __init__(self, reports: Callable[[], Mapping[str, TokenReport]]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        """Collect the metrics."""
        left = GaugeMetricFamily(
            "lamplighter_token_left_seconds",
            "Seconds for which the held token is still served; 0 if none is held.",
            labels=["cloud"],
        )
        failing = GaugeMetricFamily(
            "lamplighter_login_failing",
            "1 if the last login to a cloud failed, else 0.",
            labels=["cloud"],
        )
        for cloud, report in self._reports().items():
            left.add_metric([cloud], report.left or 0.0)
            failing.add_metric([cloud], float(report.trouble is not None))
        yield left
        yield failing
