"""Keeps programs running: restarts a program that ends, with growing pauses if it keeps ending.

A program can say why it fails, through a pipe whose number is in $LAMPLIGHTER_REASON. A reason is
logged once, however often the program fails for it.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from ops.cli.main import LONGEST_REASON, REASON

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# After a run of this length, the next pause is the first pause again.
STABLE_AFTER = 60.0
GRACE = 30.0
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run, with its arguments and environment."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]


@dataclass(slots=True)
class _Slot:
    """A program and its process; monotonic times and the last pause, in seconds.

    Attributes:
        reasons: the end of the pipe from which its reason is read.
        failing: the reason for which it failed last; None once it has run for some time.
    """

    program: Program
    process: subprocess.Popen[bytes] | None = None
    reasons: int = -1
    failing: str | None = None
    started: float = 0.0
    start_at: float = 0.0
    pause: float = 0.0


def _start(slot: _Slot, now: float) -> None:
    slot.reasons, write_end = os.pipe()
    os.set_blocking(slot.reasons, False)
    environment = {**slot.program.environment, REASON: str(write_end)}
    try:
        slot.process = subprocess.Popen(slot.program.argv, env=environment, pass_fds=(write_end,))
    finally:
        os.close(write_end)
    slot.started = now


def _reason(slot: _Slot) -> str | None:
    """Why the program that has just ended failed, if it has said so."""
    try:
        text = os.read(slot.reasons, LONGEST_REASON)
    except BlockingIOError:  # a child of it holds the pipe open
        text = b""
    os.close(slot.reasons)
    return text.decode(errors="replace") or None


def pause_after(previous: float, ran: float) -> float:
    """Seconds until the next start of a program that ended after `ran` seconds.

    `previous` is the pause before its last start, 0 for the first start.
    """
    if ran >= STABLE_AFTER or previous == 0:
        return FIRST_PAUSE
    return min(previous * 2, LONGEST_PAUSE)


class Supervisor:
    """Runs programs until it is stopped; they inherit stdout and stderr.

    Args:
        programs: the programs to run.
        log: receives starts and ends.
        on_start: called with the name of each program that was started.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        log: structlog.typing.FilteringBoundLogger,
        on_start: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._slots = [_Slot(program) for program in programs]
        self._log = log
        self._on_start = on_start

    def run(self, stop: threading.Event) -> None:
        """Keep them running until `stop`; then send SIGTERM, and SIGKILL after GRACE seconds."""
        try:
            while not stop.is_set():
                for slot in self._slots:
                    self._check(slot)
                stop.wait(_POLL)
        finally:
            self._end_all()

    def _check(self, slot: _Slot) -> None:
        now = time.monotonic()
        if slot.process is None:
            if now >= slot.start_at:
                _start(slot, now)
                if slot.failing is None:
                    self._log.info("process_started", worker=slot.program.name)
                self._on_start(slot.program.name)
            return
        code = slot.process.poll()
        if code is None:
            if slot.failing is not None and now - slot.started >= STABLE_AFTER:
                slot.failing = None
                self._log.info("process_runs_again", worker=slot.program.name)
            return
        slot.pause = pause_after(slot.pause, now - slot.started)
        reason = _reason(slot)
        slot.process, slot.start_at = None, now + slot.pause
        if reason is not None and reason == slot.failing:
            return
        slot.failing = reason
        self._log.error(
            "process_ended",
            worker=slot.program.name,
            code=code,
            reason=reason,
            restart_in=slot.pause,
            note="it is started again at growing intervals; the same reason is not logged again",
        )

    def _end_all(self) -> None:
        running = [slot.process for slot in self._slots if slot.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._log.error("process_killed", pid=process.pid)
                process.kill()
                process.wait()
