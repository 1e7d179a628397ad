"""Where a process shows its figures: /metrics of one small HTTP server.

Every kind of process has a port of its own, counted from the one that `metrics.listen` names, so
that a site's whole list is known beforehand. $LAMPLIGHTER_METRICS gives one process another
address: for a second worker of a kind on the same host.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from producers.settings import ConfigError
from workers.config.tables import MetricsSettings

ENVIRONMENT = "LAMPLIGHTER_METRICS"
# An order for good: a new kind comes last.
ROLES = (
    *("up", "tokens", "power", "audit", "relay", "slurm", "console", "resync", "notify"),
    "snapshot",
)
_MOST_PORT = 65_535


def address(
    settings: MetricsSettings, role: str, environ: Mapping[str, str]
) -> tuple[str, int] | None:
    """Host and port of this process's figures; None where none are wanted. Port 0 is any free one.

    Raises:
        ConfigError: metrics.listen or $LAMPLIGHTER_METRICS is no address.
    """
    given = environ.get(ENVIRONMENT)
    if given:
        return _split(given, f"${ENVIRONMENT}")
    if settings.listen is None:
        return None
    host, port = _split(settings.listen, "metrics.listen")
    return host, port + ROLES.index(role) if port else 0


@contextmanager
def serving(settings: MetricsSettings, role: str, registry: CollectorRegistry) -> Iterator[None]:
    """Show the figures meanwhile. A port that is taken is logged: no request waits for a figure.

    Raises:
        ConfigError: as `address`.
    """
    where = address(settings, role, os.environ)
    if where is None:
        yield
        return
    log = structlog.get_logger()
    host, port = where
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        remedy = f"set ${ENVIRONMENT} to a free address for this process"
        log.error("metrics_not_served", host=host, port=port, error=error.strerror, remedy=remedy)  # noqa: TRY400 - the words say it all
        yield
        return
    ProcessCollector(registry=registry)
    log.info("metrics_served", host=host, port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _split(text: str, field: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _MOST_PORT - len(ROLES):
        raise ConfigError(f'{field}: {text!r} is no address; write "127.0.0.1:9464"')
    return host.strip("[]"), int(port)
