"""Settings of those who look on: Prometheus, and people at the console."""

from pathlib import Path

from workers.config.types import Table


class MetricsSettings(Table, frozen=True):
    """Figures for Prometheus.

    Attributes:
        listen: host and first port; each kind of process has its own from there on
            (workers/process/metrics_endpoint.py). None for no figures.
    """

    listen: str | None = None


class ProxySettings(Table, frozen=True):
    """A proxy that has made sure who somebody is, and says so in a header.

    Attributes:
        address: its IP address; whoever connects from there is believed.
        header: names the person.
    """

    address: str
    header: str


class ConsoleSettings(Table, frozen=True):
    """The web console.

    Attributes:
        listen: host and port.
        hosts: further names by which it may be asked for: a proxy's.
        operators_file: who may act (`lamplighter console operator NAME`); None for nobody.
        proxy: who else may say who somebody is.
        login_to_read: whether looking needs a login too; by default only where others than this
            host can connect.
    """

    listen: str = "127.0.0.1:8617"
    hosts: tuple[str, ...] = ()
    operators_file: Path | None = None
    proxy: ProxySettings | None = None
    login_to_read: bool | None = None
