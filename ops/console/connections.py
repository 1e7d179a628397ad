"""Bound connections that have not sent a whole request: in time and in number."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# For a whole request with its form, and for the next one of a kept connection.
_REQUEST_SECONDS = 10.0
# Of connections without a whole request; far below the usual limit of 1,024 open files.
_MOST_WAITING = 200


class BoundedConnection(H11Protocol):
    """A connection that is closed if it waits too long, or is the oldest of too many that wait.

    So half-sent requests neither use up the open files nor keep out a client that sends its request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._since = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the client has yet to send a request, or the rest of one."""
        return self.conn.their_state in {h11.IDLE, h11.SEND_BODY}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for a new connection, and give it its time."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch()
        waiting = [one for one in self.connections if getattr(one, "is_waiting", False)]
        if len(waiting) > _MOST_WAITING:
            oldest = min(waiting, key=lambda one: one._since)  # type: ignore[union-attr]  # noqa: SLF001 - of this class
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read what arrived; the time counts until the request is whole."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self.is_waiting:
            self._forget()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(_REQUEST_SECONDS, self._expire)

    def _expire(self) -> None:
        self._deadline = None
        if self.is_waiting:
            self.transport.abort()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
