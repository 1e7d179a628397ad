"""Tells systemd, where it runs the worker, that it has started and that it lives (sd_notify(3))."""

import os
import socket
import time
from contextlib import suppress

from workers.process.stop import Stop

# Seconds; far below the units' WatchdogSec.
_INTERVAL = 60.0


def tell_systemd(line: str) -> None:
    """Send a line to $NOTIFY_SOCKET, a path or an abstract name; without it, nothing is sent."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(line.encode(), address.replace("@", "\0", 1))


class Watchdog:
    """Signs of life while the main loop turns, rests, or has not begun: a migration may take long."""

    def __init__(self, stop: Stop) -> None:
        self._stop, self._turns, self._next = stop, 0, 0.0

    def sign(self) -> None:
        """Send one if it is time, unless the loop has not turned since the last."""
        turns = self._stop.turns
        if time.monotonic() >= self._next and (self._stop.rests or turns != self._turns):
            tell_systemd("WATCHDOG=1")
            self._turns, self._next = turns, time.monotonic() + _INTERVAL
