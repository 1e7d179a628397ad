"""Reserve TCP ports on 127.0.0.1, so that test runs at the same time do not take the same port."""

from __future__ import annotations

import random
import socket
from typing import Self

LOWEST = 20_000
# Linux's default ephemeral range begins above: any outgoing connection may take a port of it.
HIGHEST = 32_767


class Ports:
    """Reserves free TCP ports until it is closed or its process ends.

    A reservation is an abstract Unix socket named after the port (unix(7)). It leaves no file and
    holds for all processes of the network namespace, as the ports do.
    """

    def __init__(self) -> None:
        self._reserved: dict[int, socket.socket] = {}

    def take(self) -> int:
        """Return a port that is free now and stays reserved.

        Raises:
            RuntimeError: There is no free port.
        """
        candidates = list(range(LOWEST, HIGHEST + 1))
        random.shuffle(candidates)
        for port in candidates:
            if self._reserve(port) and _is_free(port):
                return port
        raise RuntimeError(f"no free port on 127.0.0.1 between {LOWEST} and {HIGHEST}")

    def take_block(self, count: int) -> range:
        """Return `count` consecutive ports, reserved as by `take`.

        Raises:
            RuntimeError: No such block was found.
        """
        for _ in range(1000):
            first = random.randint(LOWEST, HIGHEST + 1 - count)
            block, before = range(first, first + count), set(self._reserved)
            if all(self._reserve(port) and _is_free(port) for port in block):
                return block
            for port in self._reserved.keys() - before:
                self._reserved.pop(port).close()
        raise RuntimeError(f"no {count} consecutive free ports on 127.0.0.1")

    def close(self) -> None:
        """Release all reservations."""
        while self._reserved:
            self._reserved.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reserve(self, port: int) -> bool:
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0lamplighter-port-{port}")
        except OSError:
            reservation.close()
            return False
        self._reserved[port] = reservation
        return True


def _is_free(port: int) -> bool:
    # Without SO_REUSEADDR, so that a port with connections in TIME_WAIT counts as taken.
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
