"""Connections of the console whose clients read nothing: a server as the console has, with a large answer."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.responses import Response

from ops.console import connections
from ops.console.connections import BoundedConnection
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 1_000_000
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    """A running server; `port` is its port."""

    def __init__(self) -> None:
        self.bound = socket.create_server(("127.0.0.1", 0), backlog=2048)
        # what the kernel holds for a client that does not read
        self.bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.port = self.bound.getsockname()[1]
        config = uvicorn.Config(
            Response(b"x" * SIZE), http=BoundedConnection, lifespan="off", log_config=None
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.bound],))

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self.server.server_state.connections)

    def connect(self, *, buffer: int = 4096) -> socket.socket:
        """A client that has sent a request."""
        client = socket.socket()
        client.settimeout(30)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(("127.0.0.1", self.port))
        client.sendall(ASK)
        return client


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.thread.start()
    until(lambda: made.server.started, 20, "the server")
    yield made
    made.server.force_exit = made.server.should_exit = True
    made.thread.join(20)
    made.bound.close()


def read_all(client: socket.socket) -> int:
    """The length of an answer, its head included."""
    length = 0
    while length < SIZE:
        length += len(client.recv(65536))
    return length


def test_clients_that_read_nothing_neither_use_up_the_files_nor_keep_others_out(
    served: Served,
) -> None:
    """1,100 of them: few stay open, and somebody who reads gets the whole answer."""
    with ExitStack() as held:
        for _ in range(1100):
            held.enter_context(closing(served.connect()))
        # is accepted after all of them
        with closing(served.connect(buffer=65536)) as mine:
            assert read_all(mine) > SIZE
            assert served.open <= 600


def test_a_client_that_stops_reading_is_closed_in_time_and_a_slow_one_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the answer is half written, or the whole of it and the connection is about to close."""
    monkeypatch.setattr(connections, "_CLIENT_SECONDS", 2.0)
    monkeypatch.setattr(connections, "_CHECK_SECONDS", 0.1)
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(closing(served.connect()))
        with closing(served.connect()) as slow:
            length, began = 0, threading.Event()
            while length < SIZE:
                length += len(slow.recv(4096))
                if length % 64 == 0:
                    began.wait(0.005)
        until(lambda: served.open <= 1, 30, "the deaf ones to be closed")
