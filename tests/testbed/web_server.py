"""Serves HTTP on loopback by a handler of the test's own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler],
    context: ssl.SSLContext | None = None,
    *,
    quiet: bool = False,
) -> Iterator[int]:
    """Serve until the end of the block, over TLS with a context; yields the port.

    Args:
        handler: answers; it logs nothing.
        context: of TLS.
        quiet: whether clients that leave, or that do not speak TLS, are what the test is about.
    """
    silent = type(handler.__name__, (handler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), silent)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    if quiet:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
