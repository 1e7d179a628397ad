"""The spool: calls are durable and published by one process; errors are reported."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from producers import spool
from producers.call import HookCall, call_from
from schemas.commands import Kind

ROOT = Path(__file__).parents[2]
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
# Runs a step, and kills itself (-9) before the TURN-th line of spool.py or disk.py.
KILLED = """
import os, signal, sys
from pathlib import Path
from producers import disk, spool
from tests.unit.test_producers_spool import CALL
folder, turn = Path(sys.argv[1]), int(sys.argv[2])
{prepare}
left = [turn]
def watch(frame, event, _):
    if frame.f_code.co_filename not in (spool.__file__, disk.__file__):
        return None
    if event == "line":
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return watch
sys.settrace(watch)
{step}
sys.settrace(None)
"""


def calls(folder: Path, reports: list[str] | None = None) -> list[HookCall]:
    """The calls that a relay would publish now; releases them again."""
    found = []
    for spooled in spool.claim(
        spool.waiting(folder), reports.append if reports is not None else pytest.fail
    ):
        assert isinstance(spooled.call, HookCall)
        found.append(spooled.call)
        spooled.release()
    return found


def put(folder: Path, call: HookCall = CALL) -> Path:
    """Spool a call as a hook does that has ended."""
    spooled = spool.put(folder, call)
    spooled.release()
    return spooled.path


def killed(folder: Path, turn: int, step: str, prepare: str = "") -> bool:
    """Run `step` in a process that is killed at its turn-th line; False if it ended before."""
    program = KILLED.format(step=step, prepare=prepare)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(turn)], check=False, cwd=ROOT
    )
    assert done.returncode in {0, -signal.SIGKILL}
    return done.returncode != 0


def test_calls_are_read_again_oldest_generation_first(tmp_path: Path) -> None:
    for offset in (2, 0, 1):
        put(tmp_path, replace(CALL, generation=CALL.generation + offset))
    found = calls(tmp_path)
    assert [call.generation - CALL.generation for call in found] == [0, 1, 2]
    assert found[0] == CALL


def test_spool_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    assert put(tmp_path).stat().st_mode & 0o077 == 0


def test_missing_folders_are_made(tmp_path: Path) -> None:
    put(tmp_path / "var" / "spool" / "lamplighter")
    assert calls(tmp_path / "var" / "spool" / "lamplighter") == [CALL]
    assert spool.waiting(tmp_path / "never made") == []


def test_kill_at_any_line_of_spooling_leaves_a_whole_call_or_none(tmp_path: Path) -> None:
    """P1: kill -9 before each line leaves no half call, and does not block the next one."""
    turn, whole = 1, 0
    while killed(tmp_path / str(turn), turn, "spool.put(folder, CALL)"):
        found = calls(tmp_path / str(turn))
        assert found in ([], [CALL])
        whole += bool(found)
        other = replace(CALL, correlation_id="f" * 32)
        put(tmp_path / str(turn), other)
        assert other in calls(tmp_path / str(turn))
        turn += 1
    assert turn > 15, "the steps were not met"
    assert 0 < whole < turn - 1, "killed before and after the call was whole"


def test_kill_at_any_line_of_keeping_the_rest_loses_no_node(tmp_path: Path) -> None:
    """P1: the broker has node1 and node3; node2 stays in the spool in every case."""
    turn = 1
    while True:
        folder = tmp_path / str(turn)
        put(folder)
        prepare = "[it] = spool.claim(spool.waiting(folder), print)"
        was_killed = killed(folder, turn, "it.keep(['node2'])", prepare)
        (left,) = calls(folder)
        assert left in (CALL, replace(CALL, nodes="node2"))
        if not was_killed:
            break
        turn += 1
    assert left.nodes == "node2"
    assert turn > 10, "the steps were not met"


def test_other_processes_skip_a_call_that_one_publishes(tmp_path: Path) -> None:
    spooled = spool.put(tmp_path, CALL)
    assert calls(tmp_path) == []
    spooled.release()
    assert calls(tmp_path) == [CALL]


def test_the_call_of_a_killed_process_is_available_at_once(tmp_path: Path) -> None:
    program = "import os\nspool.put(folder, CALL)\nos.kill(os.getpid(), signal.SIGKILL)"
    assert killed(tmp_path, -1, program)
    assert calls(tmp_path) == [CALL]


def test_a_published_call_is_removed(tmp_path: Path) -> None:
    spooled = spool.put(tmp_path, CALL)
    spooled.done()
    assert list(tmp_path.iterdir()) == []
    spooled.done()


def test_a_call_published_between_open_and_lock_is_not_published_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path)
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        path.unlink(missing_ok=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert calls(tmp_path) == []


def test_a_call_replaced_between_open_and_lock_is_left_to_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path)
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if path.read_bytes() == CALL.to_json():
            fresh = path.with_suffix(".fresh")
            fresh.write_bytes(replace(CALL, nodes="node2").to_json())
            fresh.rename(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert calls(tmp_path) == []
    assert [call.nodes for call in calls(tmp_path)] == ["node2"]


def test_the_kept_rest_has_the_same_ids_and_file_name(tmp_path: Path) -> None:
    path = put(tmp_path)
    (spooled,) = spool.claim([path], pytest.fail)
    spooled.keep(["node1", "node3"])
    assert spool.waiting(tmp_path) == [path]
    assert calls(tmp_path) == [replace(CALL, nodes="node1,node3")]


def test_a_call_whose_rest_cannot_be_written_is_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path)
    (spooled,) = spool.claim([path], pytest.fail)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _no_space)
        with pytest.raises(spool.SpoolError, match="No space left"):
            spooled.keep(["node1"])
    assert calls(tmp_path) == [CALL]
    assert list(tmp_path.iterdir()) == [path]


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_in_place_of_the_folder_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(spool.SpoolError, match=r"hooks\.spool: .*spool; a file is in the way"):
        spool.put(tmp_path / "spool", CALL)
    with pytest.raises(spool.SpoolError, match=r"hooks\.spool: .*spool; a file is in the way"):
        spool.waiting(tmp_path / "spool")


def test_a_full_disk_is_reported_and_leaves_no_half_call(tmp_path: Path) -> None:
    """The limit on file size acts like a disk that fills up during a write."""
    program = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    spool.put(folder, CALL)
except spool.SpoolError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(step=program, prepare=""), str(tmp_path), "-1"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "hooks.spool: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_no_hook_wrote_is_set_aside_and_blocks_no_call(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "00000000000000000001-x.call").write_bytes(b"not a call")
    (tmp_path / "00000000000000000002-x.call").write_bytes(replace(CALL, nodes="node[").to_json())
    reports: list[str] = []
    assert calls(tmp_path, reports) == [CALL]
    assert len(list(tmp_path.glob("*.unreadable"))) == 2
    assert ["set aside as" in line for line in reports] == [True, True]
    assert calls(tmp_path) == [CALL]


def test_a_file_that_cannot_be_opened_is_reported_and_blocks_no_call(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "00000000000000000001-x.call").mkdir()
    reports: list[str] = []
    assert calls(tmp_path, reports) == [CALL]
    assert len(reports) == 1
    assert "00000000000000000001-x.call: cannot be read: Is a directory" in reports[0]


def test_unfinished_files_are_removed_after_an_hour(tmp_path: Path) -> None:
    old, young = tmp_path / "1-x.partial", tmp_path / "2-x.partial"
    for path in (old, young):
        path.write_bytes(CALL.to_json()[:20])
    os.utime(old, (time.time() - 3601,) * 2)
    assert spool.remove_torn(tmp_path) == ["1-x.partial"]
    assert list(tmp_path.iterdir()) == [young]


def test_a_call_spooled_by_an_earlier_version_is_read(tmp_path: Path) -> None:
    body = (
        b'{"kind": "resume", "cluster": "vespa", "nodes": "node[1-3]", "generation":'
        b' 1767323045678901000, "correlation_id": "0123456789abcdef0123456789abcdef",'
        b' "expiry": null, "resume_file": "{}", "origin": "controller", "note": null}'
    )
    (tmp_path / "00000000000000000001-x.call").write_bytes(body)
    assert calls(tmp_path) == [CALL] == [call_from(CALL.to_json())]
