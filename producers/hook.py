"""A hook: makes slurmctld's request durable, publishes it, and exits quickly.

slurmctld 22.05 starts its programs with descriptors 0-2 closed, eleven signals blocked, and an
environment of SLURM_CONF and (for a resume) SLURM_RESUME_FILE. slurmctld 24.11 kills programs that
run too long, and its reconfigure waits for them.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from producers import call as calls
from producers import clock, spool
from producers.config_file import find_config, note_hooks_file
from producers.disk import read_file
from producers.hosts import expand
from producers.message import Batch
from producers.outbox import Sending, deliver
from producers.privacy import keep_private
from producers.report import report
from producers.settings import ConfigError, HookSettings, hook_settings
from producers.spool import MOST_RESUME_FILE, SpoolContent
from schemas import ids
from schemas.commands import Kind
from schemas.errors import MalformedMessageError
from schemas.fields import shown

# With a close that the broker does not answer and the interpreter's start, a hook takes below four.
PUBLISH_SECONDS = 3.4
LEFTOVER_SECONDS = 1.0

EXIT_SPOOLED = 0
EXIT_NOT_DURABLE = 1
EXIT_BAD_CALL = 2

_CLOCK_AHEAD = 60.0


def main(kind: Kind) -> None:
    """Run the hook and end the process."""
    _repair_process()
    try:
        code = run(kind, sys.argv, dict(os.environ), clock.process_age())
    except Exception as error:  # noqa: BLE001 - no operator sees a traceback here
        code = report(None, EXIT_NOT_DURABLE, f"{type(error).__name__}: {error}; please report it")
    # Skips the interpreter's shutdown and a resolver thread that can hang: everything is on disk.
    os._exit(code)


def run(kind: Kind, argv: list[str], environ: dict[str, str], age: float = 0.0) -> int:
    """Make the request durable and publish it.

    `argv` is the program and one hostlist expression, and `age` the seconds since Slurm called: its
    patience runs from then on.

    Returns:
        0 if the request is on disk, 1 if it could not be made durable (the broker may have it), 2 if
        the call or the configuration is malformed (nothing was sent).
    """
    resume_file, note = _resume_file(environ)
    path = find_config(environ)
    try:
        settings = hook_settings(path)
    except ConfigError as error:
        return report(None, EXIT_BAD_CALL, str(error))
    try:
        expression = _expression(argv)
        expand(expression)
    except MalformedMessageError as error:
        return report(settings, EXIT_BAD_CALL, str(error))
    called = time.time_ns()
    try:
        generation = clock.stamp(settings.state)
    except clock.ClockError as error:
        # The request matters more than its exact order; the time alone orders it well. The time now:
        # a reset that holds the lock lowers all generations to a time that is past.
        generation = time.time_ns()
        note = f"{note}; {error}" if note else str(error)
        report(settings, EXIT_SPOOLED, str(error))
    _warn_if_ahead(settings, generation)
    if (other := note_hooks_file(path, settings, environ)) is not None:
        # as the hook's request is safe with either, only the operator can choose
        text = f"two files: hooks read {path}, commands read {other}; remove one of them"
        report(settings, EXIT_SPOOLED, text)
    own = calls.own_time(called, generation)
    timeout = settings.resume_timeout if kind is Kind.RESUME else settings.suspend_timeout
    hook_call = calls.HookCall(
        kind=kind,
        cluster=settings.cluster,
        nodes=expression,
        generation=generation,
        correlation_id=ids.correlation_id(),
        expiry=None if kind is Kind.RESUME_FAIL else calls.expiry(own or generation, timeout - age),
        resume_file=resume_file,
        origin=os.uname().nodename or "unknown",
        note=note,
        called=own,
    )
    return _spool_and_publish(settings, hook_call)


def _spool_and_publish(settings: HookSettings, hook_call: calls.HookCall) -> int:
    sent = submit(settings, hook_call, PUBLISH_SECONDS)
    nodes = shown(hook_call.nodes)
    if sent.unsafe is not None:
        fate = "but published" if sent.open is None else f"and is LOST: {sent.open}"
        return report(settings, EXIT_NOT_DURABLE, f"{nodes}: not durable: {sent.unsafe}; {fate}")
    if sent.open is not None:
        report(settings, EXIT_SPOOLED, f"{nodes}: spooled, not yet published: {sent.open}")
    elif sent.earlier is not None:
        report(settings, EXIT_SPOOLED, f"earlier calls are still spooled: {sent.earlier}")
    return EXIT_SPOOLED


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What happened to a call; all None on success.

    Attributes:
        unsafe: why it could not be made durable.
        open: why it is not published yet.
        earlier: why calls from before are still in the spool.
    """

    unsafe: str | None
    open: str | None
    earlier: str | None


def submit(settings: HookSettings, hook_call: SpoolContent, seconds: float) -> SubmitResult:
    """Make a call durable and publish it, within `seconds`."""
    spooled, unsafe = None, None
    try:
        spooled = spool.put(settings.own_spool, hook_call)
    except spool.SpoolError as error:
        unsafe = str(error)
    own = Sending(hook_call, spooled, partial(report, settings, EXIT_SPOOLED))
    batches = _batches(settings, own, time.monotonic() + seconds)
    problem = send(settings, batches, seconds)
    if spooled is not None:
        spooled.release()
    if own.confirmed:
        return SubmitResult(unsafe, None, problem)
    return SubmitResult(unsafe, problem or "the broker did not answer", None)


def send(settings: HookSettings, batches: Iterable[Batch], seconds: float) -> str | None:
    """Publish; returns None or the first problem."""
    return deliver(settings, "lamplighter hook", batches, seconds).problem


def _batches(settings: HookSettings, own: Sending, until: float) -> Iterator[Batch]:
    """Our own call first; then the calls left in the spool, for at most a second."""
    yield own.batch()  # within the time of the whole publish
    if own.spooled is None:
        return
    until = min(until, time.monotonic() + LEFTOVER_SECONDS)
    try:
        paths = spool.waiting(settings.own_spool)
    except spool.SpoolError as error:
        own.report(str(error))
        return
    others = (path for path in paths if path != own.spooled.path)
    hooks = settings.shares_spool
    for earlier in spool.claim(others, settings.cluster, own.report, of_hooks=hooks):
        left = until - time.monotonic()
        if left <= 0:
            return
        yield Sending(earlier.call, earlier, own.report).batch(left)


def _expression(argv: list[str]) -> str:
    if len(argv) != 2:  # noqa: PLR2004 - the program and its one argument
        raise MalformedMessageError(
            "arguments", f"got {len(argv) - 1}, want 1", "give one hostlist expression"
        )
    return argv[1]


def _resume_file(environ: dict[str, str]) -> tuple[str | None, str | None]:
    """The file's content and the problem with reading it; Slurm removes the file when we exit."""
    path = environ.get("SLURM_RESUME_FILE")
    if not path:
        return None, None
    try:
        return read_file(Path(path), MOST_RESUME_FILE).decode(errors="replace"), None
    except (OSError, ValueError) as error:
        return None, f"SLURM_RESUME_FILE: {error}"


def _warn_if_ahead(settings: HookSettings, generation: int) -> None:
    """Warn of a generation in the future: workers reject those that are far ahead."""
    ahead = (generation - time.time_ns()) / 1e9
    if ahead > _CLOCK_AHEAD:
        report(
            settings,
            EXIT_SPOOLED,
            f"hooks.state: generations are {ahead:.0f} s ahead of this host's time; correct the "
            "time, or if it is correct run: lamplighter clock reset",
        )


def _repair_process() -> None:
    """Unblock signals, and open descriptors 0-2 if closed, so that no file of ours gets them."""
    keep_private()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # noqa: PLR2004 - standard error
        null = os.dup(null)
    os.close(null)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open until the process ends
