"""The spool: what is in it is durable; what cannot be put there is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from producers import spool
from producers.call import HookCall
from schemas.commands import Kind

CALL = HookCall(
    kind=Kind.RESUME,
    cluster="vespa",
    nodes="node[1-3]",
    generation=1_767_323_045_678_901_000,
    correlation_id="0123456789abcdef" * 2,
    expiry=None,
    resume_file="{}",
    origin="controller",
)
# Stops the process at each step that makes a call durable, once for each way to be killed.
STEPS = ("os.open", "os.fsync", "os.close", "pathlib.Path.rename")


def test_what_is_put_is_read_again_oldest_generation_first(tmp_path: Path) -> None:
    for offset in (2, 0, 1):
        spool.put(tmp_path, replace(CALL, generation=CALL.generation + offset))
    calls = [call for _, call in spool.read(spool.waiting(tmp_path), print)]
    assert [call.generation - CALL.generation for call in calls] == [0, 1, 2]
    assert calls[0] == CALL


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    assert spool.put(tmp_path, CALL).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_there_is_a_whole_call_or_none(tmp_path: Path, step: str) -> None:
    """Kill -9 before each system call: never half a call, and nothing blocks the next one."""
    program = f"""
import os, pathlib, signal
from producers import spool
from tests.unit.test_producers_spool import CALL
from pathlib import Path
{step} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
spool.put(Path({str(tmp_path)!r}), CALL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == -signal.SIGKILL
    assert list(spool.read(spool.waiting(tmp_path), print)) == []
    other = replace(CALL, correlation_id="f" * 32)
    spool.put(tmp_path, other)
    assert [call for _, call in spool.read(spool.waiting(tmp_path), print)] == [other]


def test_a_folder_that_is_a_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(spool.SpoolError, match=r"hooks\.spool: .*free the disk or mend"):
        spool.put(tmp_path / "spool", CALL)


def test_a_full_disk_is_said_and_leaves_no_half_call(tmp_path: Path) -> None:
    """The limit on file size stands for a disk that fills up in mid-write."""
    program = f"""
import resource, signal
from producers import spool
from tests.unit.test_producers_spool import CALL
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    spool.put(Path({str(tmp_path)!r}), CALL)
except spool.SpoolError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert "hooks.spool" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_no_hook_wrote_is_set_aside_not_lost_and_not_in_the_way(tmp_path: Path) -> None:
    spool.put(tmp_path, CALL)
    (tmp_path / "00000000000000000001-x.call").write_bytes(b"not a call")
    (tmp_path / "00000000000000000002-x.call").write_bytes(replace(CALL, nodes="node[").to_json())
    told: list[str] = []
    assert [call for _, call in spool.read(spool.waiting(tmp_path), told.append)] == [CALL]
    assert len(list(tmp_path.glob("*.unreadable"))) == 2
    assert ["set aside" in line for line in told] == [True, True]


def test_a_running_hook_s_own_file_is_left_to_it_for_a_while(tmp_path: Path) -> None:
    path = spool.put(tmp_path, CALL)
    assert spool.waiting(tmp_path, min_age=60) == []
    os.utime(path, (0, 0))
    assert spool.waiting(tmp_path, min_age=60) == [path]


def test_what_another_process_has_sent_meanwhile_is_passed_over(tmp_path: Path) -> None:
    paths = [spool.put(tmp_path, CALL)]
    spool.done(paths[0])
    assert list(spool.read(paths, print)) == []
    assert spool.waiting(tmp_path / "never-made") == []
