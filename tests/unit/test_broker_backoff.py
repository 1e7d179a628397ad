"""Waits grow while attempts fail at once; after a time without failure they are short again."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.broker.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence


class Clock:
    """Replaces time.monotonic."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def waits(
    attempts: Sequence[float],
    patch: pytest.MonkeyPatch,
    memory: float = 0.0,
    now: float = 1000.0,
) -> list[float]:
    """The waits after failed attempts: after one at the start, and after those that take `attempts` seconds."""
    clock = Clock(now)
    patch.setattr(time, "monotonic", clock)
    backoff = Backoff(memory)
    found = [backoff.next()]
    for seconds in attempts:
        clock.now += found[-1] + seconds
        found.append(backoff.next())
    return found


def test_waits_double_up_to_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = waits([0.0] * 20, monkeypatch)
    for wait, ceiling in zip(found, [0.2, 0.4, 0.8, 1.6, 3.2, *[5.0] * 16], strict=True):
        assert ceiling / 2 <= wait <= ceiling


def test_first_wait_after_a_good_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits([*[0.0] * 20, 10.0], monkeypatch)[-1] <= 0.2


def test_waits_after_failures_that_come_late_double_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a right lasts until the next message needs it."""
    found = waits([9.0] * 5, monkeypatch, memory=15.0)
    assert found[-1] >= 2.5
    assert waits([9.0] * 5 + [20.0], monkeypatch, memory=15.0)[-1] <= 0.2


@pytest.mark.parametrize("memory", [0.0, 15.0])
def test_the_first_wait_is_not_zero_on_a_host_that_has_just_started(
    monkeypatch: pytest.MonkeyPatch, memory: float
) -> None:
    """Zero would stay zero: attempts without a pause, until one succeeds."""
    assert min(waits([0.0] * 3, monkeypatch, memory, now=0.1)) >= 0.1


@given(st.lists(st.floats(0, 100), max_size=50))
def test_every_wait_is_short_beside_the_attempt_or_longer_than_the_wait_before(
    attempts: list[float],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = waits(attempts, patch)
    assert all(0.1 <= wait <= 5.0 for wait in found)
    for (before, wait), seconds in zip(pairwise(found), attempts, strict=True):
        assert wait >= min(before, 2.5) or seconds >= before
