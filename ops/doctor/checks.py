"""Runs the checks of `lamplighter doctor`: each in bounded time, and none stops the others."""

from collections.abc import Callable, Iterable
from threading import Thread

from ops.cli.errors import explain
from ops.site.findings import Finding, away, wrong
from ops.site.kinds import Kind
from producers.settings import ConfigError

# Whatever hangs: a resolver, a file system, a database that accepts and is silent, a cloud that drips.
_SECONDS = 60.0


class SlowError(Exception):
    """Something did not end in time; the text says how long that is."""


def findings_of(what: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a check, and one more if it fails or does not end.

    `what` it looks at is for the finding's words. The check may fail in any way; what it found
    before counts.
    """
    found: list[Finding] = []
    problem = failure_of(lambda: found.extend(check()))
    if problem is None:
        return found
    remedy = f"correct this, and run lamplighter doctor again: the rest of {what} was not checked"
    say = wrong if isinstance(problem, ConfigError) else away
    return [*found, say(Kind.CHECK, f"{what}: {words_of(problem)}", remedy)]


def failure_of(work: Callable[[], object], seconds: float | None = None) -> Exception | None:
    """Do something in bounded time; returns how it failed, or None.

    Work that hangs goes on, until the process ends; `seconds` are by default those of a check.
    """
    limit = seconds or _SECONDS
    problems: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the others go on
            problems.append(error)

    thread = Thread(target=run, name="check", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        return SlowError(f"did not end within {limit:g} s")
    return problems[0] if problems else None


def words_of(problem: Exception) -> str:
    """The problem in words that hold no secret."""
    if isinstance(problem, SlowError):
        return str(problem)
    explained = explain(problem)
    # the text of another one could hold anything
    return explained[0] if explained else f"failed: {type(problem).__name__}; please report it"
