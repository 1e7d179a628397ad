"""What becomes of a request that has just arrived: it is taken, parked, or ended at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.commands import Kind, PowerCommand
from schemas.events import Cause, Transition
from schemas.snapshot import Power
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from workers.broker.delivery import DeliveryHistory
from workers.power.admit import (
    DISAGREES,
    FIRST_TIER,
    IMPLAUSIBLE,
    LATER_TIER,
    TAKE,
    UNCONFIRMED,
    Admission,
    End,
    admit,
    tier_of,
)
from workers.store.generations import ClockLimit
from workers.store.slurm_view import SlurmView

if TYPE_CHECKING:
    from workers.power.intake import Pending

NS = 10**9
NODES = {"node1": "main"}
SUSPEND = replace(command(kind=Kind.SUSPEND), expiry=MOMENT + 60 * NS)
LATE = MOMENT + 61 * NS
CLOCK = ClockLimit(MOMENT + 3600 * NS)


def admitted(
    asked: PowerCommand,
    *,
    slurm: SlurmView | None = None,
    now: int = MOMENT,
    parked: int = 0,
    clock: ClockLimit = CLOCK,
) -> Admission:
    request = pending(asked, DeliveryHistory(parked=parked))
    return admit(request, NODES, slurm, clock, now)


def shows(power: Power, *, generation: int = MOMENT + 1, fresh: bool = True) -> SlurmView:
    return SlurmView(generation, {"node1": power}, confirmed=True, fresh=fresh, time=generation)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("ahead", [-(10**12), 0, 1, 3600 * NS])
def test_a_request_is_taken_though_the_clocks_differ_a_little(kind: Kind, ahead: int) -> None:
    assert admitted(command(kind=kind, generation=MOMENT + ahead)) == TAKE


@pytest.mark.parametrize("kind", Kind)
def test_a_generation_far_ahead_waits_until_a_snapshot_shows_that_the_hooks_clock_is_there(
    kind: Kind,
) -> None:
    """Taken, it could fence off all requests that follow; ended, one wrong clock would lose it."""
    asked = command(kind=kind, generation=MOMENT + 3600 * NS + 1)
    parking = admitted(asked, slurm=shows(Power.POWERING_UP))
    assert isinstance(parking, Cause)
    assert parking.error == IMPLAUSIBLE
    assert "correct the clock of controller" in parking.message
    there = ClockLimit(asked.generation + 300 * NS)
    taken = admitted(asked, slurm=shows(Power.OFF, generation=asked.generation), clock=there)
    assert taken == TAKE


@pytest.mark.parametrize(
    ("slurm", "clock"),
    [(None, CLOCK), ("any", replace(CLOCK, is_after_reset=True))],
    ids=["without snapshots", "stamped before a reset"],
)
def test_a_generation_far_ahead_ends_where_nothing_can_show_that_it_is_still_wanted(
    slurm: str | None, clock: ClockLimit
) -> None:
    view = None if slurm is None else shows(Power.ON)
    ended = admitted(command(generation=MOMENT + 3600 * NS + 1), slurm=view, clock=clock)
    assert isinstance(ended, End)
    assert (ended.transition, ended.cause.error) == (Transition.FAILED, IMPLAUSIBLE)


def test_a_node_in_no_group_is_refused_by_name_with_an_alarm() -> None:
    ended = admitted(command("node2"))
    assert isinstance(ended, End)
    assert (ended.transition, ended.alarm) == (Transition.FAILED, True)
    assert ended.cause.error == "unknown_node"
    assert ended.cause.message.startswith("node2 is in no group")


def test_a_request_that_cannot_be_tried_is_refused_whatever_slurm_shows() -> None:
    unknown = replace(command("node2", kind=Kind.SUSPEND), expiry=MOMENT)
    ended = admitted(unknown, slurm=shows(Power.ON), now=LATE)
    assert isinstance(ended, End)
    assert ended.cause.error == "unknown_node"


def test_without_snapshots_every_suspend_is_taken() -> None:
    assert admitted(SUSPEND, now=LATE) == TAKE


def test_a_suspend_that_slurm_has_taken_back_is_superseded_without_an_alarm() -> None:
    ended = admitted(SUSPEND, slurm=shows(Power.POWERING_UP))
    assert isinstance(ended, End)
    assert (ended.transition, ended.cause.error, ended.alarm) == (
        Transition.SUPERSEDED,
        DISAGREES,
        False,
    )


@pytest.mark.parametrize(("parked", "tier"), [(0, FIRST_TIER), (11, FIRST_TIER), (12, LATER_TIER)])
def test_a_late_suspend_is_parked_until_a_newer_snapshot_comes(parked: int, tier: str) -> None:
    """A minute in the first tier, then in the next; never dropped, and without an attempt."""
    parking = admitted(SUSPEND, slurm=shows(Power.OFF, generation=1), now=LATE, parked=parked)
    assert isinstance(parking, Cause)
    assert parking.error == UNCONFIRMED
    assert tier_of(pending(SUSPEND, DeliveryHistory(parked=parked))) == tier
    assert admitted(SUSPEND, slurm=shows(Power.OFF), now=LATE, parked=parked) == TAKE


def test_a_late_suspend_is_parked_while_the_newest_snapshot_is_too_old() -> None:
    parking = admitted(SUSPEND, slurm=shows(Power.OFF, fresh=False), now=LATE)
    assert isinstance(parking, Cause)


def test_a_resume_that_comes_at_once_is_taken_whatever_slurm_shows() -> None:
    for power in Power:
        assert admitted(command(), slurm=shows(power), now=LATE) == TAKE


def test_a_resume_that_has_rested_ends_where_slurm_has_powered_the_node_off_since() -> None:
    """Slurm has given the boot up: its node would register, get a job, and be powered off with it."""
    asked = replace(command(), expiry=LATE + 60 * NS)
    rested = replace(pending(asked), rested=True)

    def ends(request: Pending, slurm: SlurmView) -> bool:
        found = admit(request, NODES, slurm, CLOCK, LATE)
        assert found == TAKE or (isinstance(found, End) and found.cause.error == DISAGREES)
        return found != TAKE

    gone = {power for power in Power if ends(rested, shows(power))}
    assert gone == {Power.OFF, Power.POWERING_DOWN}
    assert not ends(rested, shows(Power.OFF, generation=MOMENT))
    assert not ends(rested, shows(Power.OFF, fresh=False))
    assert not ends(
        replace(rested, command=replace(asked, expiry=None)), shows(Power.OFF)
    )  # an operator's


@pytest.mark.parametrize("rested", [False, True])
def test_a_resume_that_slurm_no_longer_waits_for_needs_a_newer_snapshot(*, rested: bool) -> None:
    asked = replace(command(), expiry=MOMENT + 60 * NS)
    late = replace(pending(asked), rested=rested)

    def found(power: Power, generation: int = LATE, *, fresh: bool = True) -> Admission:
        return admit(late, NODES, shows(power, generation=generation, fresh=fresh), CLOCK, LATE)

    for power in Power:
        assert isinstance(found(power, MOMENT + 60 * NS), Cause | End)
        assert isinstance(found(power, fresh=False), Cause)
    ended = {power for power in Power if isinstance(found(power), End)}
    taken = {power for power in Power if found(power) == TAKE}
    assert ended == {Power.OFF, Power.POWERING_DOWN}
    assert taken == set(Power) - ended - {Power.CHANGING}
