"""The supervisor restarts programs that end, with growing pauses, and stops all on request."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from itertools import accumulate, repeat
from typing import TYPE_CHECKING

import psutil
import structlog
from structlog.testing import capture_logs

from ops.cli.main import REASON
from ops.processes import supervisor as module
from ops.processes.supervisor import LONGEST_PAUSE, STABLE_AFTER, Program, Supervisor, pause_after
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

SLEEP = "import time; time.sleep(600)"
IGNORES_SIGTERM = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); {SLEEP}"
)


def program(code: str) -> Program:
    return Program("test", (sys.executable, "-c", code), dict(MINIMAL_ENVIRONMENT))


@contextmanager
def supervised(*programs: Program) -> Iterator[None]:
    stop = threading.Event()
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


def test_a_program_that_ends_is_restarted(run_dir: Path) -> None:
    trace = run_dir / "trace"
    with supervised(program(f"open({str(trace)!r}, 'a').write('x')")):
        until(lambda: trace.exists() and len(trace.read_text()) >= 3, 20.0, "three starts")


def test_a_reason_that_comes_again_and_again_is_logged_once(run_dir: Path) -> None:
    starts = run_dir / "starts"
    code = (
        f"import os; open({str(starts)!r}, 'a').write('x');"
        f"n = os.path.getsize({str(starts)!r}); pipe = int(os.environ['{REASON}']);"
        "os.write(pipe, b'no folder' if n < 3 else b'no user'); raise SystemExit(2)"
    )
    with capture_logs() as logs, supervised(program(code)):
        until(lambda: starts.exists() and len(starts.read_text()) >= 4, 20.0, "four starts")
    ended = [(line["code"], line["reason"]) for line in logs if line["event"] == "process_ended"]
    assert ended == [(2, "no folder"), (2, "no user")]


def test_an_end_without_a_reason_is_logged_each_time(run_dir: Path) -> None:
    trace = run_dir / "trace"
    with capture_logs() as logs, supervised(program(f"open({str(trace)!r}, 'a').write('x')")):
        until(lambda: trace.exists() and len(trace.read_text()) >= 3, 20.0, "three starts")
    assert [line["reason"] for line in logs if line["event"] == "process_ended"] == [None, None]


def test_stop_ends_all_programs() -> None:
    before = len(children())
    with supervised(program(SLEEP), program(SLEEP)):
        until(lambda: len(children()) == before + 2, 10.0, "two programs")
    assert len(children()) == before


def test_a_program_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.2)
    before = len(children())
    with supervised(program(IGNORES_SIGTERM)):
        until(lambda: capfd.readouterr().out, 10.0, "the program to start")
    assert len(children()) == before
