"""The metrics endpoint of a process: a small HTTP server with /metrics.

Each role has its own port, counted from the one in `metrics.listen`, so that Prometheus' targets are
known in advance. $LAMPLIGHTER_METRICS sets another address for one process, for a second worker of a
role on the same host.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

from producers.settings import ConfigError
from workers.config.tables import MetricsSettings

ENVIRONMENT = "LAMPLIGHTER_METRICS"
# The order gives the ports: add new roles at the end.
ROLES = (
    *("up", "tokens", "power", "audit", "relay", "slurm", "console", "resync", "notify"),
    "snapshot",
)
# Prometheus waits for an answer for 10 s by default (scrape_timeout).
_MOST_CALLERS = 16
_CALL_SECONDS = 15.0


def endpoint_address(
    settings: MetricsSettings, role: str, environ: Mapping[str, str]
) -> tuple[str, int] | None:
    """Host and port of this process's endpoint, or None without one; port 0 is any free port.

    Raises:
        ConfigError: $LAMPLIGHTER_METRICS is not an address, or one where others could read them.
    """
    given = environ.get(ENVIRONMENT)
    text = given or settings.listen
    if text is None:
        return None
    try:
        host, port = settings.address(text)
    except ValueError as error:
        raise ConfigError(f"{ENVIRONMENT}: {error}") from None
    return host, port if given or not port else port + ROLES.index(role)


@contextmanager
def serve_metrics(
    settings: MetricsSettings,
    role: str,
    registry: CollectorRegistry,
    process: Callable[[], int] = os.getpid,
) -> Iterator[str | None]:
    """Serve the metrics inside the context; if they cannot be, say why and go on: None if they are.

    `process` gives the pid of the process whose memory and CPU are among them.

    Raises:
        ConfigError: as `address`.
    """
    where = endpoint_address(settings, role, os.environ)
    if where is None:
        yield None
        return
    log = structlog.get_logger()
    host, port = where
    try:
        server = _MetricsServer((host, port), _Handler)
    except OSError as error:
        remedy = f"set ${ENVIRONMENT} to a free address for this process"
        log.error("metrics_not_served", host=host, port=port, error=error.strerror, remedy=remedy)  # noqa: TRY400 - the error is enough
        yield f"serves no metrics at {host} port {port} (metrics.listen): {error.strerror}: {remedy}"
        return
    ProcessCollector(registry=registry, pid=process)
    server.set_app(make_wsgi_app(registry))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics_served", host=host, port=server.server_port)
    try:
        yield None
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _MetricsServer(ThreadingMixIn, WSGIServer):
    """Serves few callers at once, each for a short time: who says nothing takes nothing from the worker."""

    daemon_threads = True

    def __init__(self, where: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self._places = threading.Semaphore(_MOST_CALLERS)
        super().__init__(where, handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - a socket
        """Answer in a thread, if there is a place."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer; the connection ends in time, also if a byte comes now and then."""
        end = threading.Timer(_CALL_SECONDS, lambda: _shut(request))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that goes away is nobody's problem."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's
        """Say nothing of each scrape."""


def _shut(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
