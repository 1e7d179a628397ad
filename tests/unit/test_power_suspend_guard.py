"""A request of Slurm's to power a node off is judged by Slurm's newest snapshot where it may be late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.commands import Kind, PowerCommand
from schemas.events import Cause
from schemas.snapshot import Power
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from workers.power.admit import End, Take, is_late, judge
from workers.store.slurm_view import SlurmView

NS = 10**9
EXPIRY = MOMENT + 60 * NS
SUSPEND = replace(command(kind=Kind.SUSPEND), expiry=EXPIRY)
FAILED = replace(command(kind=Kind.RESUME_FAIL), expiry=None)
BEFORE, AFTER = EXPIRY - 1, EXPIRY + 1
VERDICTS = [
    (Power.OFF, Take),
    (Power.POWERING_DOWN, Take),
    (Power.ON, End),
    (Power.POWERING_UP, End),
    (Power.SET_DOWN, End),
    (Power.CHANGING, Cause),
    (Power.UNKNOWN, Cause),
]


def view(
    generation: int, power: Power = Power.OFF, *, confirmed: bool = True, fresh: bool = True
) -> SlurmView:
    return SlurmView(generation, {SUSPEND.node: power}, confirmed, fresh)


def judged(
    asked: PowerCommand, seen: SlurmView, now: int, *, rested: bool = False
) -> Take | Cause | End:
    return judge(pending(asked, rested=rested), seen, now)


def late(asked: PowerCommand, now: int, *, rested: bool = False) -> bool:
    return is_late(pending(asked, rested=rested), now)


@pytest.mark.parametrize("asked", [SUSPEND, FAILED])
@pytest.mark.parametrize("now", [BEFORE, AFTER])
@pytest.mark.parametrize("generation", [MOMENT, MOMENT + 1])
@pytest.mark.parametrize(("power", "verdict"), VERDICTS)
def test_a_newer_and_fresh_snapshot_decides(
    asked: PowerCommand, now: int, generation: int, power: Power, verdict: type
) -> None:
    """So does one of the same generation, which the request was made from; also with a new store."""
    for confirmed in (True, False):
        seen = view(generation, power, confirmed=confirmed)
        assert isinstance(judged(asked, seen, now), verdict)


@pytest.mark.parametrize("generation", [0, MOMENT - 1])
@pytest.mark.parametrize("power", Power)
def test_without_a_newer_snapshot_a_late_suspend_waits(generation: int, power: Power) -> None:
    assert isinstance(judged(SUSPEND, view(generation, power), BEFORE), Take)
    assert isinstance(judged(SUSPEND, view(generation, power), AFTER), Cause)


@pytest.mark.parametrize("generation", [0, MOMENT - 1])
def test_until_a_snapshot_confirms_the_store_every_suspend_waits(generation: int) -> None:
    assert isinstance(judged(SUSPEND, view(generation, confirmed=False), BEFORE), Cause)
    assert isinstance(judged(FAILED, view(generation, confirmed=False), BEFORE), Cause)


@pytest.mark.parametrize("generation", [0, MOMENT - 1])
@pytest.mark.parametrize("now", [0, MOMENT, BEFORE, AFTER])
@pytest.mark.parametrize("power", Power)
def test_a_resume_fail_always_waits_for_a_newer_snapshot(
    generation: int, now: int, power: Power
) -> None:
    """The node may have registered after all, and run jobs."""
    assert isinstance(judged(FAILED, view(generation, power), now), Cause)


@pytest.mark.parametrize(("power", "verdict"), VERDICTS)
def test_a_snapshot_that_is_too_old_lets_a_late_request_wait(power: Power, verdict: type) -> None:
    old = view(MOMENT + 1, power, fresh=False)
    assert isinstance(judged(SUSPEND, old, AFTER), Cause)
    assert isinstance(judged(FAILED, old, BEFORE), Cause)
    assert isinstance(judged(SUSPEND, old, BEFORE), verdict)


@pytest.mark.parametrize("asked", [SUSPEND, FAILED])
def test_a_node_that_slurm_no_longer_knows_may_be_powered_off(asked: PowerCommand) -> None:
    """It can run no job. But a snapshot without any node shows nothing."""
    others = SlurmView(MOMENT + 1, {"node2": Power.ON}, confirmed=True)
    assert isinstance(judged(asked, others, BEFORE), Take)
    assert isinstance(judged(asked, SlurmView(MOMENT + 1, {}, confirmed=True), BEFORE), Cause)


@pytest.mark.parametrize("kind", [k for k in Kind if k not in {Kind.SUSPEND, Kind.RESUME_FAIL}])
def test_a_resume_in_time_and_an_operators_requests_need_no_snapshot(kind: Kind) -> None:
    asked = replace(command(kind=kind), expiry=EXPIRY)
    assert isinstance(judged(asked, view(0, confirmed=False), BEFORE), Take)
    by_hand = replace(asked, expiry=None)
    assert isinstance(judged(by_hand, view(0, confirmed=False), AFTER), Take)


def test_an_operators_own_suspend_is_not_judged_by_slurms_snapshot() -> None:
    asked = replace(SUSPEND, expiry=None)
    assert isinstance(judged(asked, view(MOMENT + 1, Power.ON), AFTER), Take)


@pytest.mark.parametrize(("power", "verdict"), VERDICTS)
def test_a_suspend_that_has_rested_needs_a_newer_and_fresh_snapshot_before_its_expiry_too(
    power: Power, verdict: type
) -> None:
    """slurmctld, killed right after its call, has forgotten it, and may have given the node a job."""
    assert isinstance(judged(SUSPEND, view(MOMENT - 1, power), BEFORE, rested=True), Cause)
    old = view(MOMENT + 1, power, fresh=False)
    assert isinstance(judged(SUSPEND, old, BEFORE, rested=True), Cause)
    newer = view(MOMENT + 1, power)
    assert isinstance(judged(SUSPEND, newer, BEFORE, rested=True), verdict)


def test_a_suspend_is_late_after_its_expiry_or_a_rest_and_a_resume_fail_at_any_time() -> None:
    assert [late(SUSPEND, now) for now in (BEFORE, EXPIRY, AFTER)] == [False, False, True]
    assert late(SUSPEND, BEFORE, rested=True)
    assert late(FAILED, 0)
    for rested in (False, True):
        assert not late(replace(SUSPEND, expiry=None), AFTER, rested=rested)
        assert not late(command(kind=Kind.RESUME), AFTER, rested=rested)


@pytest.mark.parametrize(
    ("generation", "power", "registered"),
    [
        (MOMENT, Power.ON, True),
        (MOMENT + 1, Power.ON, True),
        (MOMENT - 1, Power.ON, False),
        (MOMENT + 1, Power.POWERING_UP, False),
        (MOMENT + 1, Power.SET_DOWN, False),
        (MOMENT + 1, Power.UNKNOWN, False),
    ],
)
def test_only_a_snapshot_after_the_request_shows_that_a_node_has_registered(
    generation: int,
    power: Power,
    registered: bool,  # noqa: FBT001
) -> None:
    assert view(generation, power).has_registered(SUSPEND.node, MOMENT) is registered
    assert not view(generation, power).has_registered("node2", MOMENT)
