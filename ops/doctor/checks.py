"""Runs the checks of `lamplighter doctor`: each in bounded time, and none stops the others."""

from collections.abc import Callable, Iterable
from threading import Thread

from ops.cli.errors import explain
from ops.site.findings import Finding, Severity
from producers.settings import ConfigError

# Whatever hangs: a resolver, a file system, a database that accepts and is silent, a cloud that drips.
_SECONDS = 60.0


def findings_of(what: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a check, and one more if it fails or does not end.

    Args:
        what: it looks at, for the finding's words.
        check: it may fail in any way; what it found before counts.
    """
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except Exception as error:  # noqa: BLE001 - the other checks go on
            found.append(_failed(what, error))

    # a thread that hangs ends with the process
    thread = Thread(target=run, name=f"doctor-{what}", daemon=True)
    thread.start()
    thread.join(_SECONDS)
    if not thread.is_alive():
        return found
    words = f"{what}: the check did not end within {_SECONDS:g} s"
    return [
        *found,
        Finding(Severity.AWAY, "check", words, "see what it waits for: strace -f -p PID"),
    ]


def _failed(what: str, error: Exception) -> Finding:
    explained = explain(error)
    if explained is None:  # its text could hold anything
        words = f"{what}: the check failed: {type(error).__name__}"
        return Finding(Severity.AWAY, "check", words, "please report it")
    severity = Severity.WRONG if isinstance(error, ConfigError) else Severity.AWAY
    return Finding(severity, "check", f"{what}: {explained[0]}")
