"""The processes of the workers, and their memory over time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import psutil

from tests.testbed.processes import Child

_MIB = 1 << 20
_SAMPLE_EVERY = 3.0


class Owners(Protocol):
    """The supervisors of an installation."""

    workers: Child | None
    second: Child | None


def workers_of(owner: Child | None) -> dict[str, psutil.Process]:
    """The workers that a supervisor runs now, by the name in their process titles."""
    found: dict[str, psutil.Process] = {}
    if owner is None or not owner.running:
        return found
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(owner.pid).children():
            words = " ".join(child.cmdline()).split()
            if words[-2:-1] == ["worker"]:
                found[words[-1]] = child
    return found


@contextmanager
def sampled(site: Owners) -> Iterator[dict[str, list[float]]]:
    """The memory of each worker over time, in MiB; a new process goes on where the old one was."""
    memory: dict[str, list[float]] = {}
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_EVERY):
            for owner, prefix in ((site.workers, ""), (site.second, "second ")):
                for name, size in _sizes(owner):
                    memory.setdefault(prefix + name, []).append(size)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def _sizes(owner: Child | None) -> Iterator[tuple[str, float]]:
    for name, process in workers_of(owner).items():
        with suppress(psutil.NoSuchProcess):
            yield name, process.memory_info().rss / _MIB
