"""Faults of processes: killed, told to end, frozen, restarted one after the other."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from storm.faults.hit import DoesNotEndError, Hit, NothingHitError, at_once
from storm.plan import WORKERS
from storm.site import Site

# Seconds that a worker has to end. One that is frozen meanwhile goes on after at most 14 s.
_ENDS = 40.0
# Seconds that a hook lives: from the import of its modules to its wait for the broker.
_HOOK_LIVES = 0.02, 0.4


@at_once
def kill(hit: Hit) -> None:
    """Kill -9; the supervisor starts a worker again, and we start the supervisor."""
    _signal(hit.site, hit.target, signal.SIGKILL)


@at_once
def terminate(hit: Hit) -> None:
    """SIGTERM; the process must end."""
    _signal(hit.site, hit.target, signal.SIGTERM)


@contextmanager
def freeze(hit: Hit) -> Iterator[None]:
    """SIGSTOP, longer than a lease; then SIGCONT."""
    found = _process(hit.site, hit.target)
    try:
        _send(found, signal.SIGSTOP)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            found.send_signal(signal.SIGCONT)


@at_once
def upgrade(hit: Hit) -> None:
    """Restart all workers, one after the other."""
    for name in WORKERS:
        with suppress(NothingHitError):
            _signal(hit.site, name, signal.SIGTERM)


@at_once
def kill_hook(hit: Hit) -> None:
    """Kill the next hook while it works: it takes about 0.1 s, and longer on a busy machine."""
    hit.site.kill_next_hook(hit.chance.uniform(*_HOOK_LIVES))


def _signal(site: Site, target: str, number: signal.Signals) -> None:
    if target == "up":
        _end_up(site, number)
        return
    found = _process(site, target)
    _send(found, number)
    try:
        found.wait(_ENDS)
    except psutil.TimeoutExpired:
        with suppress(psutil.NoSuchProcess):
            found.send_signal(signal.SIGQUIT)  # it writes its stacks to its log
        raise DoesNotEndError(f"{target}, {_ENDS:g} s after {number.name}") from None


def _process(site: Site, target: str) -> psutil.Process:
    found = site.process(target)
    if found is None:
        raise NothingHitError("its supervisor waits before it starts it again")
    return found


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        raise NothingHitError("it has ended by itself") from None


def _end_up(site: Site, number: signal.Signals) -> None:
    try:
        if site.workers is None or not site.workers.running:
            raise NothingHitError("the supervisor does not run")
        if number is signal.SIGKILL:
            site.workers.kill()  # with all its workers, as a host that loses its power
        elif site.workers.stop(_ENDS) == -signal.SIGKILL:
            raise DoesNotEndError(f"up, {_ENDS:g} s after SIGTERM")
    finally:
        site.start_up()
