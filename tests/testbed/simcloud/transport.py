"""Reset a TCP connection, which HTTP servers do not offer."""

import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "simcloud.transport"
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also passes its transport to the application."""

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
