"""The wish to stop: a signal may state it at any moment, and no wait misses it."""

from __future__ import annotations

import signal
import threading
import time

from workers.process.stop import Stop


def test_a_wait_ends_when_stop_is_set_and_no_later_wait_begins() -> None:
    stop = Stop()
    assert not stop.wait(0.0)
    assert not stop.is_set()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    assert stop.wait(60.0)
    assert stop.is_set()
    assert stop.wait(60.0)
    timer.join()


def test_a_signal_may_set_it_in_the_middle_of_a_wait_or_of_another_set() -> None:
    """With threading.Event the handler waits for a lock that the code below it holds."""
    stop, handled = Stop(), 0

    def handle(*_: object) -> None:
        nonlocal handled
        handled += 1
        stop.set()

    before = signal.signal(signal.SIGVTALRM, handle)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
    try:
        until = time.monotonic() + 60.0
        while handled < 100 and time.monotonic() < until:
            stop.set()
            assert stop.wait(0.0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
    assert handled >= 100
