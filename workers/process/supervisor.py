"""Keeps functions running, each in a process of its own: restarts one that ends, with growing pauses.

The processes are forked, so that they share the memory of all modules that are loaded. The supervisor
has no threads: the state of another thread, such as a held lock, would be copied with the memory.
A function can say why it fails. A reason is logged once, however often the function fails for it.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import TypeAlias

import structlog
from setproctitle import setproctitle

from workers.process.stop import Stop

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# After a run of this length, the next pause is the first pause again.
STABLE_AFTER = 60.0
GRACE = 30.0
# Bytes of a reason: less than a pipe holds, so that a process never waits for its reader.
LONGEST_REASON = 4096
# Seconds between two looks: while one that has ended is to start again, and while all run.
_POLL, _IDLE = 0.2, 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_FORK = multiprocessing.get_context("fork")

# Receives the reason for a failure.
Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """A function that runs in a process of its own until SIGTERM; it may end with SystemExit.

    `title` is the line that ps(1) shows.
    """

    name: str
    title: str
    run: Callable[[Tell], None]


@dataclass(slots=True)
class _Slot:
    """A program and its process; monotonic times and the last pause, in seconds.

    Attributes:
        reasons: the end of the pipe from which its reason is read.
        failing: the reason for which it failed last; None once it has run for some time.
    """

    program: Program
    process: ForkProcess | None = None
    reasons: Connection | None = None
    failing: str | None = None
    started: float = 0.0
    start_at: float = 0.0
    pause: float = 0.0

    def start(self, now: float) -> None:
        """Fork a process for the program; OSError if the host gives us no further process."""
        reasons, write_end = _FORK.Pipe(duplex=False)
        process = _FORK.Process(
            target=_enter, args=(self.program, write_end, os.getpid()), name=self.program.name
        )
        # the supervisor's handlers would run in the new process until it has replaced them
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
        except OSError as error:
            reasons.close()
            remedy = "let it have more processes (TasksMax=, ulimit -u), or free memory"
            words = f"{self.program.name} cannot be started: {error.strerror}; {remedy}"
            raise OSError(error.errno, words) from None
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            write_end.close()
        self.process, self.reasons, self.started = process, reasons, now

    def reason(self) -> str | None:
        """Why the program that has just ended failed, if it has said so."""
        if self.reasons is None:
            return None
        try:
            text = self.reasons.recv_bytes() if self.reasons.poll() else b""
        except EOFError:
            text = b""
        self.reasons.close()
        return text.decode(errors="replace") or None


def _enter(program: Program, reasons: Connection, supervisor: int) -> None:
    """What the new process does first: it has the signals, the fate and the title of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    # it ends with its supervisor, even a killed one: the successor starts processes of its own
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it ended before the call of prctl
        sys.exit(0)
    setproctitle(program.title)
    program.run(lambda text: reasons.send_bytes(text.encode(errors="replace")[:LONGEST_REASON]))


def pause_after(previous: float, ran: float) -> float:
    """Seconds until the next start of a program that ended after `ran` seconds.

    `previous` is the pause before its last start, 0 for the first start.
    """
    if ran >= STABLE_AFTER or previous == 0:
        return FIRST_PAUSE
    return min(previous * 2, LONGEST_PAUSE)


class Supervisor:
    """Runs programs until it is stopped; they inherit stdout and stderr.

    `log` receives starts and ends; `on_start` is called with the name of each program before it
    starts.
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

    def run(self, stop: Stop) -> None:
        """Keep them running until `stop`; then send SIGTERM, and SIGKILL after GRACE seconds.

        Also if one cannot be started: OSError then.

        What is in memory now is never collected: a collection would write to it, and each process
        would need a copy of its own.
        """
        gc.collect()
        gc.freeze()
        try:
            while not stop.is_set():
                for slot in self._slots:
                    self._check(slot)
                running = [slot.process.sentinel for slot in self._slots if slot.process]
                all_run = len(running) == len(self._slots)
                wait([stop.fileno(), *running], _IDLE if all_run else _POLL)
        finally:
            self._end_all()
            gc.unfreeze()

    def _check(self, slot: _Slot) -> None:
        now = time.monotonic()
        if slot.process is None:
            if now >= slot.start_at:
                self._on_start(slot.program.name)
                slot.start(now)
                if slot.failing is None:
                    self._log.info("process_started", worker=slot.program.name)
            return
        code = slot.process.exitcode
        if code is None:
            if slot.failing is not None and now - slot.started >= STABLE_AFTER:
                slot.failing = None
                self._log.info("process_runs_again", worker=slot.program.name)
            return
        slot.pause = pause_after(slot.pause, now - slot.started)
        reason = slot.reason()
        slot.process.close()
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
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                self._log.error("process_killed", pid=process.pid)
                process.kill()
                process.join()
