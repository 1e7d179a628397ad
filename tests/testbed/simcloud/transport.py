"""Ending a connection rudely, which HTTP servers have no words for."""

import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "simcloud.transport"
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also hands its transport to the application."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, dict[object, object]] = {_TRANSPORT: {"transport": self.transport}}
        self.scope["extensions"] = extensions


class ResetConnection(Response):
    """Instead of an answer, a TCP reset: what a caller sees of a crashed peer or a cut path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        transport = scope["extensions"][_TRANSPORT]["transport"]
        connection: Any = transport.get_extra_info("socket")
        # Closing with a linger time of zero sends RST in place of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
