"""The supervisor restarts programs that end, with growing pauses, and stops all on request."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from itertools import accumulate, repeat
from typing import TYPE_CHECKING

import psutil
import pytest
import structlog
from setproctitle import getproctitle
from structlog.testing import capture_logs

from tests.testbed.waiting import until
from workers.process import supervisor as module
from workers.process.stop import Stop
from workers.process.supervisor import (
    LONGEST_PAUSE,
    LONGEST_REASON,
    STABLE_AFTER,
    Program,
    Supervisor,
    Tell,
    pause_after,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# the test's own process has threads; `lamplighter up` has none
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def sleep(_tell: Tell) -> None:
    time.sleep(600)


def ignore_sigterm(_tell: Tell) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write("ready")
    sys.stdout.flush()
    time.sleep(600)


def program(run: Callable[[Tell], None]) -> Program:
    return Program("test", "lamplighter test", run)


def counting(trace: Path, then: Callable[[Tell, int], None] = lambda _tell, _n: None) -> Program:
    """A program that writes how often it was started, and ends."""

    def run(tell: Tell) -> None:
        with trace.open("a") as file:
            file.write("x")
        then(tell, trace.stat().st_size)

    return program(run)


@contextmanager
def supervised(*programs: Program) -> Iterator[None]:
    stop = Stop()
    supervisor = Supervisor(programs, structlog.get_logger())
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def test_pauses_grow_to_a_limit_and_start_again_after_a_long_run() -> None:
    pauses = list(accumulate(repeat(0.1, 8), pause_after, initial=0.0))
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE]
    assert pause_after(LONGEST_PAUSE, STABLE_AFTER) == 0.5


@pytest.mark.slow
def test_a_program_that_ends_is_restarted(run_dir: Path) -> None:
    trace = run_dir / "trace"
    with supervised(counting(trace)):
        until(lambda: trace.exists() and len(trace.read_text()) >= 3, 20.0, "three starts")


@pytest.mark.slow
def test_a_reason_that_comes_again_and_again_is_logged_once(run_dir: Path) -> None:
    starts = run_dir / "starts"

    def fail(tell: Tell, count: int) -> None:
        tell("no folder" if count < 3 else "no user")
        raise SystemExit(2)

    with capture_logs() as logs, supervised(counting(starts, fail)):
        until(lambda: starts.exists() and len(starts.read_text()) >= 4, 20.0, "four starts")
    ended = [(line["code"], line["reason"]) for line in logs if line["event"] == "process_ended"]
    assert ended == [(2, "no folder"), (2, "no user")]


@pytest.mark.slow
def test_an_end_without_a_reason_is_logged_each_time(run_dir: Path) -> None:
    trace = run_dir / "trace"
    with capture_logs() as logs, supervised(counting(trace)):
        until(lambda: trace.exists() and len(trace.read_text()) >= 3, 20.0, "three starts")
    ends = [line["reason"] for line in logs if line["event"] == "process_ended"]
    # the third end may be logged, too
    assert ends[:2] == [None, None]
    assert set(ends) == {None}


def test_stop_ends_all_programs() -> None:
    before = len(children())
    with supervised(program(sleep), program(sleep)):
        until(lambda: len(children()) == before + 2, 10.0, "two programs")
    assert len(children()) == before


def test_no_room_for_another_process_ends_those_that_run_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as TasksMax= of the unit: the first has started, the second cannot."""
    fork = os.fork
    started: list[int] = []

    def limited() -> int:
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(pid := fork())
        return pid

    monkeypatch.setattr(os, "fork", limited)
    before = len(children())
    programs = program(sleep), Program("second", "lamplighter second", sleep)
    with pytest.raises(OSError, match=r"second cannot be started: .*TasksMax="):
        Supervisor(programs, structlog.get_logger()).run(Stop())
    assert len(children()) == before


def test_a_program_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.2)
    before = len(children())
    with supervised(program(ignore_sigterm)):
        until(lambda: capfd.readouterr().out, 10.0, "the program to start")
    assert len(children()) == before


def test_a_reason_of_any_length_ends_the_program_and_is_cut(run_dir: Path) -> None:
    def fail(tell: Tell, _count: int) -> None:
        tell("x" * 1_000_000)
        raise SystemExit(2)

    starts = run_dir / "starts"
    with capture_logs() as logs, supervised(counting(starts, fail)):
        until(lambda: any(line["event"] == "process_ended" for line in logs), 20.0, "its end")
    (ended, *_) = (line for line in logs if line["event"] == "process_ended")
    assert ended["reason"] == "x" * LONGEST_REASON


def test_a_process_has_a_title_default_signals_and_no_thread_of_the_supervisor(
    run_dir: Path,
) -> None:
    told = run_dir / "told"

    def run(_tell: Tell) -> None:
        default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        told.with_suffix(".new").write_text(
            f"{getproctitle()}|{default}|{blocked}|{threading.active_count()}"
        )
        told.with_suffix(".new").rename(told)
        time.sleep(600)

    with supervised(program(run)):
        until(told.exists, 20.0, "the process")
    assert told.read_text() == "lamplighter test|True|set()|1"
