"""The only source of time in the simulation."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Protocol

from tests.testbed.simcloud.settings import CurrentSettings


class Time(Protocol):
    """What the model needs: the current time, and timers."""

    def now(self) -> float:
        """Return the cloud's time in seconds since the epoch."""
        ...

    def call_later(self, seconds: float, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, ``seconds`` from now."""
        ...


class LoopTime:
    """Wall-clock time plus the configured skew, with timers on the running event loop."""

    def __init__(self, dials: CurrentSettings) -> None:
        self._dials = dials
        self._date = (0, "")

    def now(self) -> float:
        return time.time() + self._dials.now.clock_skew_seconds

    def call_later(self, seconds: float, wake: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, wake)

    def http_date(self) -> str:
        """Return the current time as a ``Date`` header; formatted once per second."""
        second = int(self.now())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def iso_seconds(at: float) -> str:
    """Return ``at`` as Nova and Keystone write times: whole seconds, UTC, ``Z``."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_micros(at: float) -> str:
    """Return ``at`` as Keystone writes token times: microseconds, UTC, ``Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
