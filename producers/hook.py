"""What every hook does, exactly as slurmctld starts it.

slurmctld 22.05 starts its programs with descriptors 0-2 closed, eleven signals blocked, and an
environment of SLURM_CONF and (for a resume) SLURM_RESUME_FILE; 24.11 kills what runs too long, and
its reconfigure waits for us. So: make the request durable, publish it, and be gone.
"""

import os
import signal
import socket
import sys
import syslog
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from producers import call as calls
from producers import clock, spool
from producers.message import Batch, Message
from producers.settings import ConfigError, HookSettings, find_config, hook_settings
from schemas import ids
from schemas.commands import Kind
from schemas.envelope import rfc3339
from schemas.errors import MalformedMessageError

PUBLISH_SECONDS = 4.0
LEFTOVER_SECONDS = 1.0

EXIT_SPOOLED = 0
EXIT_NOT_DURABLE = 1
EXIT_BAD_CALL = 2


def main(kind: Kind) -> None:
    """The whole life of a hook process; ends it."""
    _repair_process()
    code = run(kind, sys.argv, dict(os.environ))
    # Skips the interpreter's farewell, and a resolver thread that may hang: all is on disk.
    os._exit(code)


def run(kind: Kind, argv: list[str], environ: dict[str, str]) -> int:
    """Make the request durable and publish it.

    Args:
        kind: which hook.
        argv: program and one hostlist expression.
        environ: the process's environment.

    Returns:
        0 when the request is on disk or with the broker, 1 when it could not be made durable,
        2 when the call or the configuration is malformed (nothing was sent).
    """
    arrived = time.time_ns()
    resume_file, note = _resume_file(environ)
    try:
        settings = hook_settings(find_config(environ))
    except ConfigError as error:
        return report(None, EXIT_BAD_CALL, str(error))
    try:
        expression = _expression(argv)
        calls.expand(expression)
    except MalformedMessageError as error:
        return report(settings, EXIT_BAD_CALL, str(error))
    try:
        generation = clock.stamp(settings.state)
    except clock.ClockError as error:
        # The request matters more than its exact place among others; time alone places it well.
        generation = arrived
        note = f"{note}; {error}" if note else str(error)
        report(settings, EXIT_SPOOLED, str(error))
    timeout = settings.resume_timeout if kind is Kind.RESUME else settings.suspend_timeout
    hook_call = calls.HookCall(
        kind=kind,
        cluster=settings.cluster,
        nodes=expression,
        generation=generation,
        correlation_id=ids.correlation_id(),
        expiry=None if kind is Kind.RESUME_FAIL else calls.expiry(generation, timeout),
        resume_file=resume_file,
        origin=socket.gethostname() or "unknown",
        note=note,
    )
    return _spool_and_publish(settings, hook_call)


def _spool_and_publish(settings: HookSettings, hook_call: calls.HookCall) -> int:
    sent = submit(settings, hook_call, PUBLISH_SECONDS)
    if sent.unsafe is not None:
        fate = "it was published all the same" if sent.open is None else f"and is LOST: {sent.open}"
        return report(
            settings, EXIT_NOT_DURABLE, f"{hook_call.nodes}: not durable: {sent.unsafe}; {fate}"
        )
    if sent.open is not None:
        report(
            settings, EXIT_SPOOLED, f"{hook_call.nodes}: spooled, not yet published: {sent.open}"
        )
    return EXIT_SPOOLED


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a call; both None when all is well.

    Attributes:
        unsafe: why it could not be made durable.
        open: why it is not published yet.
    """

    unsafe: str | None
    open: str | None


def submit(settings: HookSettings, hook_call: calls.HookCall, seconds: float) -> Sent:
    """Make a call durable and publish it, for at most so many seconds."""
    path, unsafe = None, None
    try:
        path = spool.put(settings.spool, hook_call)
    except spool.SpoolError as error:
        unsafe = str(error)
    return Sent(unsafe, send(settings, _batches(settings, hook_call, path), seconds))


def send(settings: HookSettings, batches: Iterator[Batch], seconds: float) -> str | None:
    """Publish; returns None, or what went wrong in words."""
    # pika costs five times what all else here does; the request is on disk before it is paid.
    from producers.amqp import connection_parameters  # noqa: PLC0415
    from producers.publish import publish  # noqa: PLC0415

    try:
        parameters = connection_parameters(settings.broker, "lamplighter hook", timeout=3.0)
    except ConfigError as error:
        return str(error)
    return publish(parameters, batches, seconds)


def messages(hook_call: calls.HookCall) -> list[Message]:
    """The call's messages, the same however often it is sent."""
    return [
        Message("power.commands", c.kind.routing_key, c.to_envelope().to_json(), c.id)
        for c in calls.commands(hook_call)
    ]


def _batches(settings: HookSettings, own: calls.HookCall, path: Path | None) -> Iterator[Batch]:
    """Our own call first; then what earlier calls left, for at most a second."""
    yield Batch(messages(own), lambda: spool.done(path))
    until = time.monotonic() + LEFTOVER_SECONDS
    for leftover, earlier in spool.read(
        spool.waiting(settings.spool), partial(report, settings, EXIT_SPOOLED)
    ):
        if time.monotonic() > until:
            return
        if leftover != path:
            yield Batch(messages(earlier), partial(spool.done, leftover))


def _expression(argv: list[str]) -> str:
    if len(argv) != 2:  # noqa: PLR2004 - the program and its one argument
        raise MalformedMessageError(
            "arguments", f"got {len(argv) - 1}, want 1", "give one hostlist expression"
        )
    return argv[1]


def _resume_file(environ: dict[str, str]) -> tuple[str | None, str | None]:
    """The file's content, and what went wrong with reading it; it is gone once we exit."""
    path = environ.get("SLURM_RESUME_FILE")
    if not path:
        return None, None
    try:
        return Path(path).read_text(errors="replace"), None
    except OSError as error:
        return None, f"SLURM_RESUME_FILE: {error.strerror}"


def report(settings: HookSettings | None, code: int, text: str) -> int:
    """Tell syslog and the log file; the text names field and remedy. Returns `code`."""
    line = " ".join(text.split())
    syslog.openlog("lamplighter", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR if code else syslog.LOG_WARNING, line)
    print(f"lamplighter: {line}", file=sys.stderr)  # noqa: T201 - Slurm 24.11 logs it
    if settings is not None and settings.log_file is not None:
        try:
            with settings.log_file.open("a") as file:
                file.write(f"{rfc3339(time.time_ns())} exit={code} {line}\n")
        except OSError as error:
            syslog.syslog(syslog.LOG_ERR, f"hooks.log_file: {error.strerror}")
    return code


def _repair_process() -> None:
    """Open descriptors 0-2 where they are closed, so that no file of ours becomes one of them."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # noqa: PLR2004 - standard error
        null = os.dup(null)
    os.close(null)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - lives as long as we do
