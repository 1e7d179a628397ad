"""A day of requests for one power engine, on a clock that this process steps.

Each second of the day, some nodes are resumed or suspended in turn. Not everything goes well: calls
fail, the cloud is away or wants a rest, connections to the broker and commits to the store are lost, and
other users' servers come and go in the project.
"""

from __future__ import annotations

import heapq
import logging
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Self
from unittest import mock

import sqlalchemy as sa
import structlog

from schemas.server import Server
from tests.testbed.deliveries import delivery
from tests.testbed.instant import InstantCloud, InstantLink, engine_on
from tests.testbed.requests import resume, suspend
from tests.testbed.stores import STORES
from workers.broker.topology import RETRY_TIERS
from workers.clouds.errors import CloudError
from workers.store.database import connect, reading
from workers.store.power_store import PowerStore
from workers.store.tables import requests

if TYPE_CHECKING:
    from pathlib import Path

    from producers.message import Message
    from workers.broker.delivery import Delivery
    from workers.clouds.nova_requests import Call

_NS = 1_000_000_000
# One call of this many fails.
_FAILURES = 499
# Seconds between two lost connections, lost commits, outages of the cloud, and refusals by it.
_DISCONNECTIONS, _LOST_COMMITS, _OUTAGES, _REFUSALS = 97, 131, 800, 300
_OUTAGE, _REFUSAL = 40, 3
# While more requests than this are pending, no others come.
_MOST_PENDING = 500


class SteppedClock:
    """`time.monotonic` and `time.time_ns` of this process, which pass only when `step` is called."""

    def __init__(self) -> None:
        self.seconds = time.monotonic()
        self._ahead = time.time_ns() - int(self.seconds * _NS)
        # two requests of one node never share a generation
        self._ticks = count()

    def monotonic(self) -> float:
        return self.seconds

    def time_ns(self) -> int:
        return self._ahead + int(self.seconds * _NS) + next(self._ticks)

    def step(self, seconds: float) -> None:
        self.seconds += seconds


class LongDay:
    """Use as a context manager.

    Args:
        folder: for the configuration and the store.
        nodes: the number of nodes.
        each_second: the number of requests that come in a second of the day.
        group: more lines of the nodes' group.

    Attributes:
        engine: takes a turn each second of the day.
        cloud: counts the calls.
    """

    def __init__(
        self, folder: Path, *, nodes: int = 1000, each_second: int = 12, group: str = ""
    ) -> None:
        self._clock = SteppedClock()
        self._folder, self._nodes, self._group = folder, nodes, group
        self._each_second = each_second
        names = [f"main{number}" for number in range(1, nodes + 1)]
        self.cloud = InstantCloud(names, self._before_call)
        self._link = InstantLink(self._on_publish, self._on_ack)
        self._unacknowledged: dict[int, Delivery] = {}
        self._resting: list[tuple[float, int, Delivery]] = []
        self._asked = self._calls = self._seconds = 0
        self._connection = 1
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        level = structlog.make_filtering_bound_logger(logging.CRITICAL)
        self._stack.callback(structlog.configure, **structlog.get_config())
        structlog.configure(wrapper_class=level)
        for name in ("monotonic", "time_ns"):
            patch = mock.patch.object(time, name, getattr(self._clock, name))
            self._stack.enter_context(patch)
        self.engine = self._stack.enter_context(
            engine_on(
                self._folder,
                self._link,
                self.cloud,
                nodes=self._nodes,
                poll_interval=1.0,
                group=self._group,
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def outcomes(self) -> dict[str, int]:
        """The number of rounds in the store by outcome."""
        query = sa.select(requests.c.outcome, sa.func.count()).group_by(requests.c.outcome)
        store = connect(STORES.url(self._folder / "state.db"))
        with reading(store) as connection:
            found = {str(outcome): number for outcome, number in connection.execute(query)}
        store.dispose()
        return found

    @property
    def hours(self) -> float:
        """Hours of the day that have passed."""
        return self._seconds / 3600

    def run(self, until: int) -> None:
        """Let the day go on until this many requests have come since its beginning; end them all."""
        while self._asked < until:
            self._second(min(self._each_second, until - self._asked))
        while self._unacknowledged or self._resting:
            self._second(0)

    def _second(self, come: int) -> None:
        self._seconds += 1
        self._clock.step(1.0)
        while self._resting and self._resting[0][0] <= self._clock.seconds:
            self._deliver(heapq.heappop(self._resting)[2])
        if len(self._unacknowledged) < _MOST_PENDING:
            for _ in range(come):
                self._request()
        if self._seconds % _DISCONNECTIONS == 0:
            self._reconnect()
        self._stranger()
        with ExitStack() as trouble:
            if self._seconds % _LOST_COMMITS == 0:
                away = sa.exc.OperationalError("COMMIT", {}, OSError("the store is away"))
                lost = mock.patch.object(PowerStore, "commit", side_effect=away)
                trouble.enter_context(lost)
            self.engine.turn()

    def _request(self) -> None:
        round_, node = divmod(self._asked, self._nodes)
        self._asked += 1
        make = suspend if round_ % 2 else resume
        self._deliver(delivery(make(f"main{node + 1}"), connection=self._connection))

    def _deliver(self, came: Delivery) -> None:
        self._unacknowledged[came.tag] = came
        self.engine.deliver(came)

    def _on_ack(self, acked: Delivery) -> None:
        if acked.connection == self._connection:
            self._unacknowledged.pop(acked.tag, None)

    def _on_publish(self, message: Message) -> None:
        if message.exchange in RETRY_TIERS:
            again = delivery(message.body, message.headers, connection=self._connection)
            again = replace(again, routing_key=message.routing_key, message_id=message.id)
            due = self._clock.seconds + RETRY_TIERS[message.exchange]
            heapq.heappush(self._resting, (due, again.tag, again))

    def _reconnect(self) -> None:
        """Lose the connection; the broker delivers again what was not acknowledged."""
        self._connection += 1
        self.engine.connected(self._connection)
        again = list(self._unacknowledged.values())
        self._unacknowledged.clear()
        for before in again:
            tag = delivery(before.body).tag
            self._deliver(replace(before, connection=self._connection, tag=tag))

    def _stranger(self) -> None:
        """Another user's server is created, and one that was created before is deleted."""
        number = self._seconds
        self.cloud.put(Server(f"stranger-{number}", f"job-{number}", "ACTIVE"))
        if number > 1:
            self.cloud.put(Server(f"stranger-{number - 1}", f"job-{number - 1}", "DELETED"))

    def _before_call(self, call: Call | None) -> None:
        self._calls += call is not None
        if self._seconds % _OUTAGES > _OUTAGES - _OUTAGE:
            raise CloudError(None, "the cloud is away")
        if self._seconds % _REFUSALS > _REFUSALS - _REFUSAL:
            raise CloudError(429, "too many requests", retry_after=5.0)
        if call is not None and self._calls % _FAILURES == 0:
            raise CloudError(500, "a fault of the cloud")
