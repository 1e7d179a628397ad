"""Who owns a lease, and whether that owner still lives.

A worker killed -9 leaves its leases behind. Where the store is a file on this host, each worker
holds a lock on a file beside it, which the kernel gives up when the process dies, however it dies:
then the next worker need not wait for the lease to end before it acts; only before it ends a matter
must what the dead one has sent have had its time. With PostgreSQL it waits.
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa


class Owner:
    """This process as an owner of leases; close it at the end."""

    def __init__(self, url: sa.URL) -> None:
        self._folder: Path | None = None
        self._descriptor: int | None = None
        self.name = f"{os.getpid()}-{secrets.token_hex(8)}"
        if url.get_backend_name() == "sqlite" and url.database:
            self._folder = Path(f"{url.database}.owners")
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(self._path(self.name), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def is_dead(self, other: str) -> bool:
        """Whether that owner's process has surely ended."""
        if self._folder is None or other == self.name:
            return False
        try:
            descriptor = os.open(self._path(other), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            # it closed in order, after it had released its leases; or it was never on this host
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def close(self) -> None:
        """Give the name up."""
        if self._descriptor is not None:
            self._path(self.name).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _path(self, name: str) -> Path:
        if self._folder is None or Path(name).name != name:
            raise FileNotFoundError(name)
        return self._folder / name


@dataclass(frozen=True, slots=True)
class Lease:
    """How a worker owns nodes.

    Attributes:
        owner: the worker.
        seconds: how long a node is its own without renewing.
        settling: seconds within which a call that was sent takes effect, if ever.
    """

    owner: Owner
    seconds: float
    settling: float
