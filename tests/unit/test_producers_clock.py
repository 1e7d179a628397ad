"""The generation clock: every generation is above all earlier ones, whatever the time does."""

from __future__ import annotations

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

# Stamps so often into the folder, one generation a line; starts when its input is closed.
STAMPER = """\
import sys, pathlib
from producers import clock
sys.stdin.read()
for _ in range(int(sys.argv[2])):
    print(clock.stamp(pathlib.Path(sys.argv[1])))
"""


def stampers(folder: Path, processes: int, count: int) -> list[list[int]]:
    """What so many processes stamp, all at the same time."""
    argv = [sys.executable, "-c", STAMPER, str(folder), str(count)]
    started = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdin
        process.stdin.close()
        process.stdin = None  # else communicate would flush it
    stamped = [[int(line) for line in process.communicate()[0].split()] for process in started]
    assert all(process.returncode == 0 for process in started)
    return stamped


def set_last(folder: Path, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / clock.FILE_NAME).write_bytes(content)


def test_a_generation_is_the_time(tmp_path: Path) -> None:
    before = time.time_ns()
    generation = clock.stamp(tmp_path / "state")
    assert before <= generation <= time.time_ns()


def test_generations_rise_when_the_time_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = clock.stamp(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: first - 3600 * 10**9)
    assert [clock.stamp(tmp_path) for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_generations_rise_while_the_time_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000 * 10**9)
    stamped = [clock.stamp(tmp_path) for _ in range(100)]
    assert stamped == sorted(set(stamped))


def test_processes_in_parallel_never_stamp_the_same(tmp_path: Path) -> None:
    # As two controllers do that share the folder: nothing but the file is common.
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
        b"99999999999999999999",  # above what a message may carry
        b"09223372036854775807",
    ],
)
def test_a_torn_file_leaves_the_time_to_decide(tmp_path: Path, content: bytes) -> None:
    set_last(tmp_path, content)
    before = time.time_ns()
    first = clock.stamp(tmp_path)
    assert before <= first <= time.time_ns()
    assert clock.stamp(tmp_path) > first


def test_what_is_longer_than_a_generation_is_read_up_to_its_length(tmp_path: Path) -> None:
    last = time.time_ns() + 10**12
    set_last(tmp_path, f"{last:020d}\n".encode())
    assert clock.stamp(tmp_path) == last + 1


def test_a_file_in_place_of_the_folder_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(clock.ClockError, match=r"hooks\.state: .*state; make it writable"):
        clock.stamp(tmp_path / "state")


def test_a_file_above_the_folder_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(clock.ClockError, match=r"hooks\.state: .*make it writable for SlurmUser"):
        clock.stamp(tmp_path / "file" / "state")


def test_a_lock_that_is_never_given_does_not_hang_the_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "LOCK_SECONDS", 0.05)
    clock.stamp(tmp_path)
    with (tmp_path / clock.FILE_NAME).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(clock.ClockError, match="who holds the lock"):
            clock.stamp(tmp_path)
    clock.stamp(tmp_path)


def test_a_full_disk_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /dev/full takes a lock like any file, and no byte.
    (tmp_path / clock.FILE_NAME).symlink_to("/dev/full")
    monkeypatch.setattr("os.pread", lambda *_: b"")  # a device has no place to read from
    with pytest.raises(clock.ClockError, match=r"hooks\.state: .*free the disk"):
        clock.stamp(tmp_path)


def test_what_root_stamps_first_stays_the_hooks_to_stamp(tmp_path: Path) -> None:
    """Snapshots may be taken as root; a file of root's would be shut to SlurmUser."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 4242, 4243)
    clock.stamp(tmp_path)
    made, folder = (tmp_path / clock.FILE_NAME).stat(), tmp_path.stat()
    assert made.st_uid == folder.st_uid
    assert os.geteuid() != 0 or made.st_gid == folder.st_gid
