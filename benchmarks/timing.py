"""Durations and temporary folders, for all benchmarks."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def duration(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def shortest(call: Callable[[], object]) -> float:
    """Return the shorter of two durations: other processes may disturb one of them."""
    return min(duration(call), duration(call))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder that servers of other users can enter."""
    with tempfile.TemporaryDirectory(prefix="lamplighter-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
