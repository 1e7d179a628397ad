"""Reset a TCP connection, and choose an answer's reason phrase, which HTTP servers do not offer."""

import asyncio
import re
import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "simcloud.transport"
_LINGER_ZERO = struct.pack("ii", 1, 0)


_REASON = "x-sim-reason"
_HEAD = re.compile(
    rb"(HTTP/1\.1 \d+) [^\r]*(.*?)\r\n" + _REASON.encode() + rb": ([^\r]*)", re.DOTALL
)


def reason(words: str) -> dict[str, str]:
    """The header that becomes the answer's reason phrase."""
    return {_REASON: "".join(c if " " <= c <= "~" else " " for c in words)[:4000]}


class _Transport:
    """A transport that moves the chosen reason into the status line."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - those of a transport
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._transport.write(_HEAD.sub(rb"\1 \3\2", data, count=1))


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also passes its transport to the application."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().connection_made(_Transport(transport))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, dict[object, object]] = {_TRANSPORT: {"transport": self.transport}}
        self.scope["extensions"] = extensions


class ResetConnection(Response):
    """A TCP reset instead of an answer, as after a crash of the peer or a network failure."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        transport = scope["extensions"][_TRANSPORT]["transport"]
        connection: Any = transport.get_extra_info("socket")
        # Closing a socket with a linger time of zero sends RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
