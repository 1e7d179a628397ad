"""A suspend that is past its time is acted upon only where Slurm's newest snapshot agrees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.commands import Kind, PowerCommand
from schemas.snapshot import Power
from tests.testbed.messages import MOMENT, command
from workers.power.suspend_guard import Overtaken, Passed, SlurmView, Waits, judge

NS = 10**9
EXPIRY = MOMENT + 60 * NS
SUSPEND = replace(command(kind=Kind.SUSPEND), expiry=EXPIRY)
FAILED = replace(command(kind=Kind.RESUME_FAIL), expiry=None)
BEFORE, AFTER = EXPIRY - 1, EXPIRY + 1


def view(generation: int, power: Power = Power.OFF, *, vouched: bool = True) -> SlurmView:
    return SlurmView(generation, {SUSPEND.node: power}, vouched)


@pytest.mark.parametrize("asked", [SUSPEND, FAILED])
@pytest.mark.parametrize("now", [BEFORE, AFTER])
@pytest.mark.parametrize("generation", [MOMENT, MOMENT + 1])
@pytest.mark.parametrize(
    ("power", "verdict"),
    [
        (Power.OFF, Passed),
        (Power.POWERING_DOWN, Passed),
        (Power.ON, Overtaken),
        (Power.POWERING_UP, Overtaken),
        (Power.SET_DOWN, Overtaken),
        (Power.CHANGING, Waits),
        (Power.UNKNOWN, Waits),
    ],
)
def test_a_newer_snapshot_has_the_last_word(
    asked: PowerCommand, now: int, generation: int, power: Power, verdict: type
) -> None:
    """Also one of the same generation: the request was made of it. That holds for a fresh store too."""
    for vouched in (True, False):
        seen = view(generation, power, vouched=vouched)
        assert isinstance(judge(asked, seen, now), verdict)


@pytest.mark.parametrize("generation", [0, MOMENT - 1])
def test_without_a_newer_one_it_waits_once_it_has_expired_or_while_nobody_vouches_for_the_store(
    generation: int,
) -> None:
    assert isinstance(judge(SUSPEND, view(generation), BEFORE), Passed)
    assert isinstance(judge(SUSPEND, view(generation), AFTER), Waits)
    assert isinstance(judge(SUSPEND, view(generation, vouched=False), BEFORE), Waits)
    assert isinstance(judge(FAILED, view(generation), AFTER), Passed)
    assert isinstance(judge(FAILED, view(generation, vouched=False), AFTER), Waits)


def test_a_node_that_slurm_does_not_know_is_left_alone() -> None:
    assert isinstance(judge(SUSPEND, SlurmView(MOMENT + 1, {}, vouched=True), BEFORE), Waits)


@pytest.mark.parametrize("kind", [k for k in Kind if k not in {Kind.SUSPEND, Kind.RESUME_FAIL}])
def test_a_resume_and_what_operators_ask_need_no_snapshot(kind: Kind) -> None:
    asked = replace(command(kind=kind), expiry=EXPIRY)
    assert isinstance(judge(asked, view(0, vouched=False), AFTER), Passed)


def test_an_operators_own_suspend_is_no_matter_of_slurms() -> None:
    asked = replace(SUSPEND, expiry=None)
    assert isinstance(judge(asked, view(MOMENT + 1, Power.ON), AFTER), Passed)
