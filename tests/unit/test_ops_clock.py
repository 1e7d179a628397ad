"""`lamplighter clock`: what stands in the way of a reset, each with what to do about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.site.clock_state import ClockState, Traffic
from producers import clock

if TYPE_CHECKING:
    from pathlib import Path

NS = 10**9
NOW = 1_800_000_000 * NS
QUIET = ClockState(NOW, NOW + 1800 * NS, NOW - NS, Traffic(), 0, 0)


def test_nothing_in_flight_is_no_obstacle() -> None:
    assert QUIET.obstacles() == []
    assert QUIET.is_ahead


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (replace(QUIET, traffic=Traffic(spooled=2)), "lamplighter relay --once"),
        (replace(QUIET, traffic=Traffic(queued={"power.retry.2m": 3})), "3 requests are in power."),
        (replace(QUIET, traffic=Traffic(working=("power", "resync"))), "power, resync; stop them"),
        (replace(QUIET, open=1), "1 requests are in progress"),
        (replace(QUIET, letters=4), "dead-letters discard"),
        (replace(QUIET, unread=True), "more than"),
    ],
)
def test_each_obstacle_is_named_with_what_to_do(state: ClockState, words: str) -> None:
    (obstacle,) = state.obstacles()
    assert words in obstacle


@pytest.mark.parametrize(
    ("last", "stored", "ahead"),
    [
        (0, 0, False),
        (NOW, NOW, False),
        (NOW + NS // 2, 0, False),
        (NOW + 2 * NS, 0, True),
        # the clock's file was removed
        (0, NOW + 2 * NS, True),
    ],
)
def test_clock_is_ahead_if_its_file_or_the_store_is(last: int, stored: int, *, ahead: bool) -> None:
    assert replace(QUIET, last=last, stored=stored).is_ahead is ahead


def test_no_generation_is_stamped_while_the_clock_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "LOCK_SECONDS", 0.05)
    before = clock.stamp(tmp_path)
    with clock.locked(tmp_path) as held:
        assert held.last == before
        with pytest.raises(clock.ClockError):
            clock.stamp(tmp_path)
        held.write(5)
    assert clock.last_generation(tmp_path) == 5
    assert clock.stamp(tmp_path) > before
    assert clock.last_generation(tmp_path / "none") == 0
