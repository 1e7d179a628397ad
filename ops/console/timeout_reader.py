"""Read a source that may hang, without delaying the other sources."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

T = TypeVar("T")

_FIRST_TIMEOUT = 3.0
# Once a source has timed out, later calls wait for it only this long.
_LATER_TIMEOUT = 0.1


class ReadTimeoutError(Exception):
    """The source has not answered yet."""


class TimeoutReader(Generic[T]):
    """Reads one source repeatedly, in a thread that may hang; never twice at the same time."""

    def __init__(self, name: str, read: Callable[[], T]) -> None:
        self._name = name
        self._read = read
        self._answer: Future[T] | None = None
        self._failure: BaseException | None = None

    def read(self) -> T:
        """Read the source, or return the result of an earlier call that timed out.

        Raises:
            ReadTimeoutError: the source has not answered, to this call or to an earlier one.
            Exception: the error that reading raised, also until the next one has ended: what takes
                seconds to find out is said all the time.
        """
        answer, timeout = self._answer, _LATER_TIMEOUT
        if answer is None:
            self._answer = answer = Future()
            timeout = _FIRST_TIMEOUT
            # a daemon thread: a read that hangs does not delay the exit of the process
            threading.Thread(
                target=self._run, args=(answer,), name=f"read-{self._name}", daemon=True
            ).start()
        if not wait([answer], timeout).done:
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            raise ReadTimeoutError(f"the {self._name} does not answer")
        self._answer, self._failure = None, answer.exception()
        return answer.result()

    @property
    def pending(self) -> bool:
        """Whether a read has not returned yet."""
        return self._answer is not None

    def _run(self, answer: "Future[T]") -> None:
        try:
            answer.set_result(self._read())
        except Exception as error:  # noqa: BLE001 - raised to the caller of read()
            answer.set_exception(error)
