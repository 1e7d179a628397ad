"""The generation clock: every stamp is above all before it, whoever asks and whatever time does."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

import pytest

from producers.clock import ClockError, stamp

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stamp_is_the_time_and_above_the_last(tmp_path: Path) -> None:
    before = time.time_ns()
    first, second = stamp(tmp_path), stamp(tmp_path)
    assert before <= first < second <= time.time_ns()


def test_it_goes_on_when_the_time_goes_back(tmp_path: Path) -> None:
    ahead = time.time_ns() + 3_600_000_000_000
    (tmp_path / "generation").write_text(f"{ahead:020d}")
    assert stamp(tmp_path) == ahead + 1
    assert stamp(tmp_path) == ahead + 2


@pytest.mark.parametrize("torn", ["", "17673", "x" * 20, "0" * 19 + "\n"])
def test_a_torn_file_leaves_it_to_the_time(tmp_path: Path, torn: str) -> None:
    (tmp_path / "generation").write_text(torn)
    before = time.time_ns()
    assert stamp(tmp_path) >= before
    assert len((tmp_path / "generation").read_text()) >= 20


def _stamps(folder: Path, count: int) -> list[int]:
    return [stamp(folder) for _ in range(count)]


def test_both_controllers_of_a_pair_stamp_into_one_order(tmp_path: Path) -> None:
    """Four processes at once never stamp the same, and each sees its own grow."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        parts = pool.starmap(_stamps, [(tmp_path, 50)] * 4)
    assert all(part == sorted(part) for part in parts)
    assert len({generation for part in parts for generation in part}) == 200


def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClockError, match=r"hooks\.state: .*make it writable for SlurmUser"):
        stamp(tmp_path / "file" / "clock")
