"""Structured logs: one event name and its keys per line, on standard error."""

import logging
import sys

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from workers.config.tables import LogSettings


def configure_logs(settings: LogSettings, *, role: str, cluster: str) -> None:
    """Configure structlog for this process; every line has role and cluster."""
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer(sort_keys=False)
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # escapes control characters: names and errors must not control the terminal
            repr_native_str=True,
            exception_formatter=structlog.dev.plain_traceback,
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # without the frames' local variables, which can hold tokens
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
            if settings.format == "json"
            else structlog.processors.format_exc_info,
            _escape_exception,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role, cluster=cluster)
    # The SDKs log request bodies, with tokens, at debug level.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for name in ("keystoneauth", "openstack", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # pika logs seven lines for each failed connection; our links log one.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _escape_exception(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Escape control characters in a traceback: the error's message is untrusted."""
    traceback = event.get("exception")
    if isinstance(traceback, str):
        event["exception"] = "".join(
            char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
            for char in traceback
        )
    return event
