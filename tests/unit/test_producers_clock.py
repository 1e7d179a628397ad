"""The generation clock: every generation is above all earlier ones, also when the time is wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from producers import clock

if TYPE_CHECKING:
    from pathlib import Path

# Stamps N generations, one per line; starts when its input is closed.
STAMPER = """\
import sys, pathlib
from producers import clock
sys.stdin.read()
for _ in range(int(sys.argv[2])):
    print(clock.stamp(pathlib.Path(sys.argv[1])))
"""


def stampers(folder: Path, processes: int, count: int) -> list[list[int]]:
    """The generations that several processes stamp at the same time."""
    argv = [sys.executable, "-c", STAMPER, str(folder), str(count)]
    started = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdin
        process.stdin.close()
        process.stdin = None  # otherwise communicate would flush it
    stamped = [[int(line) for line in process.communicate()[0].split()] for process in started]
    assert all(process.returncode == 0 for process in started)
    return stamped


def set_last(folder: Path, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / clock.FILE_NAME).write_bytes(content)


def test_a_generation_is_the_current_time(tmp_path: Path) -> None:
    before = time.time_ns()
    generation = clock.stamp(tmp_path / "state")
    assert before <= generation <= time.time_ns()


def test_generations_rise_when_the_time_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = clock.stamp(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: first - 3600 * 10**9)
    assert [clock.stamp(tmp_path) for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_generations_rise_while_the_time_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000 * 10**9)
    stamped = [clock.stamp(tmp_path) for _ in range(100)]
    assert stamped == sorted(set(stamped))


def test_parallel_processes_never_stamp_the_same_generation(tmp_path: Path) -> None:
    # Like two controllers that share the folder: they have only the file in common.
    stamped = stampers(tmp_path / "shared", processes=4, count=100)
    every = [generation for each in stamped for generation in each]
    assert len(set(every)) == len(every) == 400
    assert all(each == sorted(each) for each in stamped)


def test_a_controller_whose_time_lags_stamps_above_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = clock.stamp(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: ahead - 10**9)
    behind = clock.stamp(tmp_path)
    monkeypatch.undo()
    assert ahead < behind < clock.stamp(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 20,
        b"1790000000",
        b"not a number at all!",
        "\u0661".encode() * 10,
        b"99999999999999999999",  # above the limit of a message
        b"09223372036854775807",
    ],
)
def test_a_half_written_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    set_last(tmp_path, content)
    before = time.time_ns()
    first = clock.stamp(tmp_path)
    assert before <= first <= time.time_ns()
    assert clock.stamp(tmp_path) > first


def test_content_after_the_generation_is_ignored(tmp_path: Path) -> None:
    last = time.time_ns() + 10**12
    set_last(tmp_path, f"{last:020d}\n".encode())
    assert clock.stamp(tmp_path) == last + 1


def test_a_file_in_place_of_the_folder_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(clock.ClockError, match=r"hooks\.state: .*state; a file is in the way"):
        clock.stamp(tmp_path / "state")


def test_a_file_in_place_of_a_parent_folder_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(clock.ClockError, match=r"hooks\.state: .*a file is in the way: remove"):
        clock.stamp(tmp_path / "file" / "state")


def test_a_lock_that_is_never_released_does_not_block_the_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "LOCK_SECONDS", 0.05)
    clock.stamp(tmp_path)
    with (tmp_path / clock.FILE_NAME).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(clock.ClockError, match="find the lock's holder"):
            clock.stamp(tmp_path)
    clock.stamp(tmp_path)


def test_a_full_disk_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(clock.ClockError, match=r"hooks\.state: .*free disk space"):
        clock.stamp(tmp_path)


def test_a_file_that_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """A snapshot can be taken as root; SlurmUser could not write a file of root."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 4242, 4243)
    clock.stamp(tmp_path)
    made, folder = (tmp_path / clock.FILE_NAME).stat(), tmp_path.stat()
    assert made.st_uid == folder.st_uid
    assert os.geteuid() != 0 or made.st_gid == folder.st_gid


def test_the_age_of_a_process_counts_from_its_start_and_includes_the_interpreters() -> None:
    script = "from producers.clock import process_age; print(process_age())"
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    took = time.clock_gettime(time.CLOCK_BOOTTIME) - began
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert 0 < float(done.stdout) < took + 2 * tick
    assert clock.process_age() > float(done.stdout)
