"""Collects the deliveries of a link into batches."""

import queue
import time

from workers.broker.delivery import Delivery


class Batches:
    """Passes deliveries from the link's thread to the worker's thread, many at a time.

    A batch has at most `size` deliveries, and waits `seconds` for more after its first one.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        self._waiting: queue.Queue[Delivery] = queue.Queue()

    def add(self, delivery: Delivery) -> None:
        """Add a delivery; the link's `on_delivery`."""
        self._waiting.put(delivery)

    def reset(self, _connection: int) -> None:
        """Drop what waits; the link's `on_up`. The broker delivers it again over the new connection."""
        self._waiting = queue.Queue()

    def next(self, timeout: float) -> list[Delivery]:
        """The next batch; empty if nothing arrives within `timeout` seconds."""
        waiting = self._waiting
        try:
            batch = [waiting.get(timeout=timeout)]
        except queue.Empty:
            return []
        until = time.monotonic() + self._seconds
        while len(batch) < self._size and waiting is self._waiting:
            try:
                batch.append(waiting.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return batch
