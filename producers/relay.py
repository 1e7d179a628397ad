"""The relay: sends what hooks left in the spool, oldest generation first."""

import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from producers import hook, spool
from producers.message import Batch
from producers.settings import HookSettings, hook_settings

_INTERVAL = 2.0
_LONGEST = 30.0
_AGE = 5.0  # a hook publishes for at most 4 s; younger files may still be its own
_SECONDS = 60.0


def main(config: Path, *, once: bool) -> int:
    """Sweep the spool until told to stop, or once.

    Returns:
        0, or 1 when a single sweep left something behind.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    settings = hook_settings(config)
    if once:
        return 0 if sweep(settings, min_age=0.0) is None else 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wait = _INTERVAL
    while not stop.wait(wait):
        problem = sweep(settings, min_age=_AGE)
        wait = _INTERVAL if problem is None else min(wait * 2, _LONGEST)
    return 0


def sweep(settings: HookSettings, min_age: float) -> str | None:
    """Send all that waits; returns None, or what went wrong, which is also logged."""
    paths = spool.waiting(settings.spool, min_age)
    if not paths:
        return None
    started = time.monotonic()
    problem = hook.send(settings, _batches(settings, paths), _SECONDS)
    left = len(spool.waiting(settings.spool, min_age))
    if problem is not None:
        hook.report(settings, hook.EXIT_SPOOLED, f"relay: {left} calls still spooled: {problem}")
    else:
        seconds = time.monotonic() - started
        hook.report(
            settings, hook.EXIT_SPOOLED, f"relay: sent {len(paths)} calls in {seconds:.1f} s"
        )
    return problem


def _batches(settings: HookSettings, paths: list[Path]) -> Iterator[Batch]:
    for path, hook_call in spool.read(paths, partial(hook.report, settings, hook.EXIT_SPOOLED)):
        yield Batch(hook.messages(hook_call), partial(spool.done, path))
