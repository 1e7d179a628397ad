"""The wish that a process ends, which a signal may state at any moment."""

import os
import select
import signal
import weakref


class Stop:
    """What threading.Event is, but `set` takes no lock: a signal handler may call it.

    The code that a handler interrupts may hold an event's lock, and both would wait for ever.
    """

    def __init__(self) -> None:
        self._is_set = False
        # of the main loop: how often it has turned; whether it has not begun, or has nothing to do
        self.turns, self.rests = 0, True
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._descriptor)

    def set(self) -> None:
        """Wake all that wait, now and from now on."""
        self._is_set = True
        os.eventfd_write(self._descriptor, 1)

    def set_at_signals(self) -> None:
        """Let SIGTERM and SIGINT of this process set it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._is_set

    def next_turn(self) -> bool:
        """For the main loop: whether it goes on. One that does not ask for long hangs."""
        self.turns, self.rests = self.turns + 1, False
        return not self._is_set

    def rest(self, seconds: float) -> None:
        """As `wait`, for the main loop: it may take as long as it likes."""
        self.rests = True
        self.wait(seconds)

    def fileno(self) -> int:
        """Readable once `set` was called."""
        return self._descriptor

    def wait(self, seconds: float) -> bool:
        """Wait at most this many seconds; whether `set` was called."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.poll(max(0.0, seconds) * 1000)
        return self._is_set

    def sleep(self, seconds: float) -> None:
        """As `wait`, where nobody asks whether `set` was called."""
        self.wait(seconds)
