"""A connection whose broker is silent is ended in time, and looked at no more often than that takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from producers.amqp import HEARTBEAT_SECONDS
from workers.broker import silence
from workers.broker.silence import leave_if_silent

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Connection:
    """A connection of pika, and its loop, on a clock that the test steps."""

    now: float = 100.0
    looks: int = 0
    is_closed: bool = False
    ended: Exception | None = None
    received: bytes = b""
    _due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    @property
    def ioloop(self) -> Connection:
        return self

    def call_later(self, seconds: float, what: Callable[[], None]) -> None:
        self._due.append((self.now + seconds, what))

    def monotonic(self) -> float:
        return self.now

    def _on_data_available(self, data: bytes) -> None:
        self.received += data

    def hear(self, data: bytes) -> None:
        self._on_data_available(data)

    def _terminate_stream(self, error: Exception) -> None:
        self.is_closed, self.ended = True, error

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due, self._due = self._due, []
        for at, what in due:
            if at <= self.now:
                self.looks += 1
                what()
            else:
                self._due.append((at, what))


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    connection = Connection()
    monkeypatch.setattr(silence, "time", connection)
    leave_if_silent(connection)
    return connection


def test_a_broker_is_left_when_it_has_been_silent_for_two_heartbeats(
    connection: Connection,
) -> None:
    connection.pass_time(HEARTBEAT_SECONDS - 0.1)
    connection.hear(b"heartbeat")
    connection.pass_time(HEARTBEAT_SECONDS - 0.1)
    assert connection.ended is None
    connection.pass_time(0.1)
    assert "silent for 5 s" in str(connection.ended)
    assert connection.received == b"heartbeat"


def test_a_broker_that_is_heard_costs_an_idle_worker_few_looks(connection: Connection) -> None:
    for _ in range(100):
        connection.pass_time(HEARTBEAT_SECONDS / 2)
        connection.hear(b"heartbeat")
    assert connection.ended is None
    assert connection.looks <= 100
