"""Read a source that may hang, without delaying the other sources."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_FIRST_TIMEOUT = 3.0
# Once a source has timed out, later calls wait for it only this long.
_LATER_TIMEOUT = 0.1


class ReadTimeoutError(Exception):
    """The source has not answered yet."""


class TimeoutReader(Generic[T]):
    """Reads one source repeatedly, in a thread that may hang.

    Args:
        name: the source, for the error message.
        read: reads the source; never runs twice at the same time.
    """

    def __init__(self, name: str, read: Callable[[], T]) -> None:
        self._name = name
        self._read = read
        self._thread: threading.Thread | None = None
        self._results: list[T] = []
        self._errors: list[Exception] = []

    def read(self) -> T:
        """Read the source, or return the result of an earlier call that timed out.

        Raises:
            ReadTimeoutError: the source has not answered, to this call or to an earlier one.
            Exception: the error that reading raised.
        """
        thread, timeout = self._thread, _LATER_TIMEOUT
        if thread is None:
            # a daemon thread: a read that hangs does not delay the exit of the process
            thread = threading.Thread(target=self._run, name=f"read-{self._name}", daemon=True)
            self._thread, timeout = thread, _FIRST_TIMEOUT
            thread.start()
        thread.join(timeout)
        if thread.is_alive():
            raise ReadTimeoutError(f"the {self._name} does not answer")
        self._thread = None
        if self._errors:
            raise self._errors.pop()
        return self._results.pop()

    @property
    def pending(self) -> bool:
        """Whether a read has not returned yet."""
        return self._thread is not None

    def _run(self) -> None:
        try:
            self._results.append(self._read())
        except Exception as error:  # noqa: BLE001 - raised to the caller of read()
            self._errors.append(error)
