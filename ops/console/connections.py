"""Bound connections whose client is to send or to read: in time and in number."""

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# For a whole request with its form, for the next one of a kept connection, and to read what is written.
_CLIENT_SECONDS = 10.0
_CHECK_SECONDS = 1.0
# Of connections that wait for their client; and of all, with the streams of live.py. Far below the usual
# limit of 1,024 open files.
_MOST_WAITING = 200
_MOST = 600


class BoundedConnection(H11Protocol):
    """A connection that is closed if it waits too long, or is the oldest of too many that wait.

    So clients that send half a request, or read no answer, neither use up the open files nor keep out
    others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._check: asyncio.TimerHandle | None = None
        self._has_ended = False
        # when it last got on
        self._since = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the client has yet to send a request, or the rest of one, or to read."""
        sends = self.conn.their_state in {h11.IDLE, h11.SEND_BODY}
        return sends or self.transport.get_write_buffer_size() > 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for a new connection, and give it its time."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        """Read what arrived; the time counts until the request is whole."""
        super().data_received(data)
        if not self.is_waiting:
            self._since = self.loop.time()

    def resume_writing(self) -> None:
        """Go on with an answer of which the client has read a part."""
        self._since = self.loop.time()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Look again and again: also at what is closed, but waits until its client has read the rest."""
        now = self.loop.time()
        if not self.is_waiting:
            self._since = now
        elif now - self._since > _CLIENT_SECONDS:
            self._end()
            return
        self._check = self.loop.call_later(_CHECK_SECONDS, self._watch)

    def _make_room(self) -> None:
        """Close one that waits, maybe this one, if it is one too many: the oldest of the busiest address."""
        held = [one for one in self.connections if isinstance(one, BoundedConnection)]
        held = [one for one in held if not one._has_ended]  # noqa: SLF001 - of this class
        waiting = [one for one in held if one.is_waiting]
        if len(waiting) > _MOST_WAITING or len(held) > _MOST:
            count = Counter(map(_address, waiting))
            min(waiting, key=lambda one: (-count[_address(one)], one._since))._end()  # noqa: SLF001

    def _end(self) -> None:
        self._has_ended = True
        self.transport.abort()


def _address(connection: BoundedConnection) -> str:
    return connection.client[0] if connection.client else ""
