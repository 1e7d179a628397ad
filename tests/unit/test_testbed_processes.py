"""Child processes end when their owner ends them, together with the processes they started."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.testbed.failures import describe
from tests.testbed.processes import Child
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


def shell(script: str, log: Path) -> Child:
    return Child(["sh", "-c", script], log=log)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_stop_sends_sigterm_first(log: Path) -> None:
    child = shell('trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.05; done', log)
    until(lambda: "up" in log.read_text(), 5, "the trap")
    assert child.stop() == 7
    assert not child.running
    assert log.read_text() == "up\nbye\n"


def test_stop_kills_a_program_that_ignores_sigterm(log: Path) -> None:
    child = shell('trap "" TERM; echo up; while :; do sleep 0.05; done', log)
    until(lambda: "up" in log.read_text(), 5, "the trap")
    assert child.stop(grace=0.2) == -signal.SIGKILL


@pytest.mark.parametrize("end", [Child.stop, Child.kill, Child.kill_session])
def test_grandchildren_end_too(log: Path, end: object) -> None:
    child = shell("sleep 1000 & echo $!; wait", log)
    grandchild = psutil.Process(int(until(log.read_text, 5, "the pid")))
    assert callable(end)
    end(child)
    until(lambda: is_gone(grandchild), 5, "the end of the grandchild")


def test_kill_session_reaches_processes_of_other_groups(log: Path) -> None:
    # timeout(1) creates its own process group.
    with shell("timeout 1000 sleep 1000 & echo $!; wait", log) as child:
        grandchild = psutil.Process(int(until(log.read_text, 5, "the pid")))
        until(lambda: os.getpgid(grandchild.pid) != child.pid, 5, "a group of its own")
        child.kill_session()
        until(lambda: is_gone(grandchild), 5, "the end of the grandchild")


def test_an_exception_in_the_block_ends_the_child(log: Path) -> None:
    with pytest.raises(ZeroDivisionError), shell("exec sleep 1000", log) as child:
        raise ZeroDivisionError
    assert not child.running


def test_require_running_shows_the_end_of_the_log(log: Path) -> None:
    with shell("echo no such luck; exit 3", log) as child:
        assert child.wait(5) == 3
        with pytest.raises(RuntimeError, match="no such luck"):
            child.require_running()


def test_a_child_inherits_no_environment(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    with shell("env", log) as child:
        child.wait(5)
    assert "TOKEN" not in log.read_text()


def test_until_names_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"waited 0\.1 s for the moon; last seen: \[\]"):
        until(list, 0.1, "the moon")


def test_the_report_of_a_failure_shows_the_logs_that_changed_last(tmp_path: Path) -> None:
    for age, name in enumerate(["a.log", "api-access.log", "b.out", "data"]):
        (tmp_path / name).write_text(f"content of {name}\n")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "empty.log").touch()
    assert describe([tmp_path, tmp_path / "removed"]).splitlines() == [
        f"kept: {tmp_path}",
        f"-- the end of {tmp_path}/a.log",
        "content of a.log",
        f"-- the end of {tmp_path}/b.out",
        "content of b.out",
    ]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
