"""Tests of upkeep: when a refresh token is used only to keep it alive, and when its end is announced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.tokens.upkeep import DAY, NS, RefreshTokenState, due_for_use, expiry_warning, fixed_end

NOW = 1_800_000_000 * NS
YEAR = 365 * DAY


def test_unused_token_is_due_at_once() -> None:
    assert due_for_use(RefreshTokenState(), NOW)


def test_token_that_was_used_at_a_time_yet_to_come_is_due_at_once() -> None:
    """The clock was ahead, and was set back: until then, the provider may end an idle login."""
    assert due_for_use(RefreshTokenState(NOW + 90 * DAY, NOW + 120 * DAY), NOW)


@pytest.mark.parametrize(
    ("life", "idle"),
    [
        (None, 7 * DAY),
        (400 * DAY, 7 * DAY),
        (30 * DAY, DAY),
        (DAY, DAY // 2),
        (3600 * NS, 1800 * NS),
    ],
)
def test_idle_login_is_used_weekly_or_as_its_life_requires(life: int | None, idle: int) -> None:
    state = RefreshTokenState(NOW, None if life is None else NOW + life)
    assert not due_for_use(state, NOW + idle - 1)
    assert due_for_use(state, NOW + idle)


def test_login_near_its_end_is_used_daily() -> None:
    state = RefreshTokenState(NOW, NOW + 33 * DAY)
    assert not due_for_use(state, NOW + 2 * DAY - 1)
    assert due_for_use(state, NOW + 2 * DAY)


@given(passed=st.integers(min_value=60, max_value=60 * 86400), drift=st.integers(-2, 2))
def test_end_is_fixed_if_use_does_not_postpone_it(passed: int, drift: int) -> None:
    before = RefreshTokenState(NOW, NOW + YEAR)
    used = NOW + passed * NS
    stays = RefreshTokenState(used, NOW + YEAR + drift * NS)
    moves = RefreshTokenState(used, used + YEAR + drift * NS)
    assert fixed_end(before, stays) == stays.expires
    assert fixed_end(before, moves) is None


@pytest.mark.parametrize("unknown", [RefreshTokenState(), RefreshTokenState(NOW)])
def test_unknown_end_is_not_announced(unknown: RefreshTokenState) -> None:
    known = RefreshTokenState(NOW, NOW + DAY)
    assert fixed_end(unknown, known) is None
    assert fixed_end(known, unknown) is None


def test_end_is_announced_at_30_14_7_and_1_days() -> None:
    keys = []
    for hour in range(60 * 24):
        found = expiry_warning(NOW + 60 * DAY, NOW + hour * 3600 * NS, "log in again")
        if found is not None and found.key not in keys:
            keys.append(found.key)
            assert found.error.remedy == "log in again"
            assert "2027-03-" in found.error.message
    assert [key.rpartition("/")[2] for key in keys] == ["30 days", "14 days", "7 days", "1 days"]
