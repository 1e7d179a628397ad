"""A webhook receiver that keeps the requests it gets, and replies as configured."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Got:
    """One request; `at` is the monotonic time of its arrival, in seconds."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Reply:
    """A reply, sent after `after` seconds."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0


class Receiver:
    """A context manager; the server listens inside the block.

    Args:
        answer: returns the reply to a request; by default 200.
        port: the port; by default a free one.
        context: the TLS context, for https.
    """

    def __init__(
        self,
        answer: Callable[[Got], Reply] | None = None,
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.got: list[Got] = []
        self.answer = answer or (lambda _got: Reply())
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # name required by http.server
                length = int(self.headers.get("content-length", "0"))
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                got = Got(self.path, headers, body, time.monotonic())
                receiver.got.append(got)
                reply = receiver.answer(got)
                receiver.ended.wait(reply.after)
                content = reply.body.encode()
                try:
                    self.send_response(reply.status)
                    for name, value in {**reply.headers, "content-length": len(content)}.items():
                        self.send_header(name, str(value))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client has disconnected

            do_GET = do_DELETE = do_POST  # noqa: N815 - as above

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if context is None else "https"
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
