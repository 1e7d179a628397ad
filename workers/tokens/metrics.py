"""What the token service tells of its logins, read anew for each scrape."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from workers.tokens.rpc import TokenReport


class TokenMetrics(Collector):
    """The logins' figures; `look` tells how each cloud's token stands."""

    def __init__(self, look: Callable[[], Mapping[str, TokenReport]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        left = GaugeMetricFamily(
            "lamplighter_token_left_seconds",
            "Seconds that the token in hand is still served; 0 where none is held.",
            labels=["cloud"],
        )
        failing = GaugeMetricFamily(
            "lamplighter_login_failing",
            "Whether the last login to a cloud gave no token: 1, else 0.",
            labels=["cloud"],
        )
        for cloud, report in self._look().items():
            left.add_metric([cloud], report.left or 0.0)
            failing.add_metric([cloud], float(report.trouble is not None))
        yield left
        yield failing
