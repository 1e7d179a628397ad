"""Faults of hosts: full disks, clocks that step, and the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from storm.faults.hit import Hit


@contextmanager
def disk(hit: Hit) -> Iterator[None]:
    """Fill a disk."""
    try:
        hit.site.disks[hit.target].fill()
        yield
    finally:
        hit.site.disks[hit.target].free()
        hit.site.mend_database()  # PostgreSQL ends when it cannot write its log


@contextmanager
def clock(hit: Hit) -> Iterator[None]:
    """Step one clock, and later back; the target is such as `hooks +45`."""
    whose, seconds = hit.target.split()
    try:
        hit.site.clocks[whose].step(float(seconds))
        yield
    finally:
        hit.site.clocks[whose].step(0.0)


@contextmanager
def database(hit: Hit) -> Iterator[None]:
    """Kill, restart or freeze PostgreSQL."""
    server = hit.site.postgresql
    if server is None:
        raise RuntimeError("the stores are files")
    try:
        getattr(server, hit.target)()
        yield
    finally:
        hit.site.mend_database()
