"""Reading what may not answer: whoever is silent holds up nobody else."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_FIRST = 3.0
# Once it has been waited for in vain, others are not held up much again.
_LATER = 0.1


class SilentError(Exception):
    """Nobody has answered yet."""


class TimeoutReader(Generic[T]):
    """One thing to be read again and again, in a thread that may hang.

    Args:
        what: its name, for the error.
        read: reads it; never called twice at once.
    """

    def __init__(self, what: str, read: Callable[[], T]) -> None:
        self._what = what
        self._read = read
        self._thread: threading.Thread | None = None
        self._answers: list[T] = []
        self._errors: list[Exception] = []

    def ask(self) -> T:
        """Read it.

        Raises:
            SilentError: it has not answered, be it to an earlier call.
            Exception: what reading it raised.
        """
        asked = self._thread
        patience = _LATER
        if asked is None:
            patience = _FIRST
            # a daemon: what hangs must not hold up our end
            asked = threading.Thread(target=self._run, name=f"look-{self._what}", daemon=True)
            self._thread = asked
            asked.start()
        asked.join(patience)
        if asked.is_alive():
            raise SilentError(f"the {self._what} does not answer")
        self._thread = None
        if self._errors:
            raise self._errors.pop()
        return self._answers.pop()

    @property
    def waiting(self) -> bool:
        """Whether it has still not answered."""
        return self._thread is not None

    def _run(self) -> None:
        try:
            self._answers.append(self._read())
        except Exception as error:  # noqa: BLE001 - it is raised to who asks
            self._errors.append(error)
