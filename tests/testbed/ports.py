"""Ports on 127.0.0.1 that nobody else takes, not even a second test run at the same moment."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import struct
import tempfile
from pathlib import Path
from typing import Self

LOWEST = 20_000
# Above lies Linux's default ephemeral range, from which any outgoing connection may take a port.
HIGHEST = 32_767


class Ports:
    """Reserves free TCP ports until it is closed (or its process ends, however it ends).

    Every test run of a user locks byte number N of one common file for port N. These are
    "open file description" locks (fcntl(2)): unlike the older kind they also hold between two
    objects of one process; all vanish with the process.
    """

    def __init__(self) -> None:
        """Reserve nothing yet.

        Raises:
            OSError: The lock file in the temporary folder cannot be opened.
        """
        path = Path(tempfile.gettempdir()) / f"lamplighter-ports-{os.getuid()}"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._locks = os.open(path, flags, 0o600)
        self._taken: set[int] = set()

    def take(self) -> int:
        """Return a port that is free now and stays reserved.

        Raises:
            RuntimeError: None is left.
        """
        candidates = list(range(LOWEST, HIGHEST + 1))
        random.shuffle(candidates)
        for port in candidates:
            if self._lock(port) and _is_free(port):
                return port
        raise RuntimeError(f"no free port on 127.0.0.1 between {LOWEST} and {HIGHEST}")

    def take_block(self, count: int) -> range:
        """Return `count` consecutive ports, reserved as by `take`.

        Raises:
            RuntimeError: No such block was found.
        """
        for _ in range(1000):
            first = random.randint(LOWEST, HIGHEST + 1 - count)
            block = range(first, first + count)
            if all(self._lock(port) and _is_free(port) for port in block):
                return block
        raise RuntimeError(f"no {count} consecutive free ports on 127.0.0.1")

    def close(self) -> None:
        """Give all of them back."""
        if self._locks >= 0:
            os.close(self._locks)
            self._locks = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self, port: int) -> bool:
        # A lock does not exclude its own holder.
        if port in self._taken:
            return False
        flock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, port, 1, 0)
        try:
            fcntl.fcntl(self._locks, fcntl.F_OFD_SETLK, flock)
        except BlockingIOError:
            return False
        self._taken.add(port)
        return True


def _is_free(port: int) -> bool:
    # Without SO_REUSEADDR, so that a port with connections in TIME_WAIT counts as taken.
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
