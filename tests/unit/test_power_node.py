"""A pending node: what a listing is worth to it, on whose behalf calls are made, and its patience."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.commands import Desired, Kind
from schemas.events import Cause
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.pending_nodes import (
    ACCEPTED,
    DOWN,
    SERVER,
    UP,
    action,
    listed,
    node,
    row,
)
from workers.broker.delivery import DeliveryHistory
from workers.clouds.actions import CREATE, FIND_IMAGE, REBOOT, START, STOP, UNSHELVE
from workers.clouds.decide import Act
from workers.power.admit import FIRST_TIER
from workers.power.node import (
    LOOKING,
    QUEUED,
    Calling,
    Decided,
    Judging,
    PendingNode,
    Phase,
    joined,
    looks_later,
    moved,
    recorded,
    surplus,
)
from workers.power.steps import ParkNode

CAUSE = Cause("server_side", "HTTP 500: boom")
CALLING = Calling(Act(START, "id-1"), row(UP), (UP.id, 1), since=101.0)
DECIDED = Decided(ParkNode(CAUSE, FIRST_TIER))
_BOTH = [Kind.RESUME], [Kind.SUSPEND]
JUDGING = Judging(CAUSE, Act(START, "id-1"))


# -- on whose behalf


def test_calls_are_made_for_the_request_that_raised_the_state_in_its_last_round() -> None:
    waiting = node(DOWN, pending(UP), pending(DOWN), pending(DOWN, DeliveryHistory(round=3)))
    assert waiting.key == (DOWN.id, 3)
    assert waiting.correlation_id(waiting.key) == DOWN.correlation_id


def test_a_late_request_acts_for_the_one_that_has_raised_the_state() -> None:
    waiting = node(DOWN, pending(UP))
    assert waiting.key == (DOWN.id, 1)
    assert waiting.correlation_id(waiting.key) is None


def test_a_node_keeps_its_call_though_nobody_waits_for_it_any_more() -> None:
    alone = replace(node(UP, pending(UP), phase=CALLING), requests=())
    assert (alone.requests, alone.phase, alone.is_calling) == ((), CALLING, True)


@pytest.mark.parametrize("boots", [START, CREATE, UNSHELVE, REBOOT])
def test_a_node_is_booting_once_a_call_of_its_round_has_booted_it(boots: str) -> None:
    waiting = node(UP, pending(UP))
    assert not waiting.is_booting
    made = {waiting.key: (action(boots),)}
    assert replace(waiting, actions=made).is_booting
    assert not replace(waiting, actions={(UP.id, 2): made[waiting.key]}).is_booting
    assert not replace(
        waiting, actions={waiting.key: (action(boots, result="conflict"),)}
    ).is_booting
    assert not node(DOWN, pending(DOWN), actions={(DOWN.id, 1): (action(boots),)}).is_booting


# -- what a listing is worth


@pytest.mark.parametrize(
    ("as_of", "fresh"),
    [(100.5, True), (100.0, False), (99.0, False)],
)
def test_a_listing_is_fresh_only_if_it_was_requested_later(
    as_of: float,
    fresh: bool,  # noqa: FBT001
) -> None:
    """One that was requested at the very moment may have been answered before it."""
    assert node(UP).view(listed(SERVER, at=as_of), as_of, boot_due=False).fresh is fresh


def test_calls_that_were_accepted_count_by_their_kind() -> None:
    made = (
        action(STOP),
        action(START),
        action(START, result="conflict"),
        action(START),
        action(START, result="server_side"),
    )
    waiting = node(UP, pending(UP), actions={(UP.id, 1): made})
    seen = waiting.view(listed(SERVER, at=101.0), 101.0, boot_due=False)
    assert seen.calls == {STOP: 1, START: 2}
    assert not seen.recovered


def test_a_reboot_is_tried_only_once_though_it_failed() -> None:
    waiting = node(UP, pending(UP), actions={(UP.id, 1): (action(REBOOT, result="conflict"),)})
    assert waiting.view(listed(at=101.0), 101.0, boot_due=False).recovered


def test_each_round_counts_its_own_calls() -> None:
    waiting = node(
        UP, pending(UP, DeliveryHistory(round=2)), actions={(UP.id, 1): (action(START),)}
    )
    assert waiting.view(listed(SERVER, at=101.0), 101.0, boot_due=False).calls == {}


def test_patience_is_measured_up_to_the_request_of_the_listing() -> None:
    seen = node(UP).view(listed(SERVER, at=103.0), 103.0, boot_due=True)
    assert (seen.waited, seen.boot_due) == (3.0, True)


def test_among_untagged_servers_the_one_acted_on_before_is_the_nodes() -> None:
    other = replace(SERVER, id="id-2")
    waiting = node(UP, row=row(UP, "id-2"))
    seen = waiting.view(listed(SERVER, other, at=101.0), 101.0, boot_due=False)
    assert seen.servers == (other,)
    assert seen.ours == frozenset()


# -- another request


def joined_by(
    waiting: PendingNode | None = None,
    *,
    waited: dict[tuple[str, int], float] | None = None,
    round_: int = 1,
) -> float:
    """When the patience of a node began that a request has joined at 200."""
    request = pending(UP, DeliveryHistory(round=round_))
    return joined(waiting or node(UP), request, row(UP), {}, waited or {}, 200.0).patient_since


def test_the_first_request_continues_the_patience_that_its_round_had_before() -> None:
    """Parked for 40 s of 60, it has 20 left: parking must not let a stuck boot live for ever."""
    assert joined_by() == 200.0
    assert joined_by(waited={(UP.id, 1): 40.0}) == 160.0
    assert joined_by(waited={(UP.id, 1): 40.0}, round_=2) == 200.0
    assert joined_by(waited={(UP.id, 2): 30.0}, round_=2) == 170.0


def test_a_request_that_joins_others_does_not_start_patience_again() -> None:
    waiting = node(UP, pending(UP))
    assert joined_by(waiting, waited={(UP.id, 1): 40.0}) == ACCEPTED


@pytest.mark.parametrize("kind", [Kind.RESUME, Kind.SUSPEND, Kind.DEPLOY])
@pytest.mark.parametrize(
    ("unsettled", "made", "since"),
    [(20.0, [], 200.0), (20.0, ["conflict"], 200.0), (20.0, ["done"], -100.0), (0.0, [], -100.0)],
)
def test_what_a_killed_worker_may_have_called_just_now_has_all_its_time(
    kind: Kind, unsettled: float, made: list[str], since: float
) -> None:
    """The request had waited for its turn to call for 300 s: that is no part of the time of a boot.

    A call that was answered began the patience again, which goes on whoever is killed later.
    """
    asked = command(kind=kind)
    taken, key = row(asked, unsettled_left=unsettled), (asked.id, 1)
    actions = {key: tuple(action(START, result=result) for result in made)}
    after = joined(node(asked, row=taken), pending(asked), taken, actions, {key: 300.0}, 200.0)
    assert after.patient_since == since


def test_a_new_round_that_joins_has_its_own_patience() -> None:
    waiting = node(UP, pending(UP))
    assert joined_by(waiting, round_=2) == 200.0
    assert joined_by(waiting, round_=2, waited={(UP.id, 2): 30.0}) == 170.0


def test_a_late_request_continues_the_patience_of_the_one_that_raised_the_state() -> None:
    waited = {(DOWN.id, 1): 40.0, (UP.id, 1): 5.0}
    after = joined(node(DOWN), pending(UP), row(DOWN), {}, waited, 200.0)
    assert after.patient_since == 160.0


def test_after_a_request_has_joined_older_listings_can_end_nothing() -> None:
    """Another worker may have acted since."""
    after = joined(node(UP), pending(UP), row(UP), {}, {}, 200.0)
    assert not after.view(listed(SERVER, at=200.0), 200.0, boot_due=False).fresh
    later = joined(looks_later(node(UP), 300.0), pending(UP), row(UP), {}, {}, 200.0)
    assert later.fresh_after == 300.0


def test_a_request_brings_the_actions_that_the_store_has_and_the_nodes_own_win() -> None:
    own = {(UP.id, 1): (action(START), action(START))}
    stored = {(UP.id, 1): (action(START),), (DOWN.id, 1): (action(STOP),)}
    after = joined(node(UP, actions=own), pending(UP), row(UP), stored, {}, 200.0)
    assert after.actions == {**stored, **own}


def test_of_too_many_requests_the_oldest_end_but_none_that_a_call_is_for() -> None:
    """Each of them would keep its delivery until the node has ended."""
    many = [
        command(kind=kind, generation=MOMENT + n * 10**9) for n in range(6) for kind in _BOTH[n % 2]
    ]
    newest = many[-1]
    waiting = node(newest, *map(pending, reversed(many)))
    assert [one.command for one in surplus(waiting)] == many[:2]
    calling = replace(CALLING, key=(many[0].id, 1))
    assert [one.command for one in surplus(replace(waiting, phase=calling))] == many[1:2]
    assert surplus(node(newest, *map(pending, many[2:]))) == ()
    alike = [command(generation=MOMENT + n * 10**9) for n in range(9)]
    assert surplus(node(alike[-1], *map(pending, alike))) == ()


# -- another row


@pytest.mark.parametrize("phase", [JUDGING, DECIDED, LOOKING, QUEUED])
def test_what_was_learned_for_another_generation_is_void(phase: Phase) -> None:
    """A newer request must neither end nor lose an attempt for what an older one has met."""
    learned = node(UP, pending(UP), phase=phase, conflicts=4, trouble=CAUSE, image_id="image")
    after = moved(learned, row(DOWN), 200.0)
    assert (after.phase, after.conflicts, after.trouble, after.image_id) == (LOOKING, 0, None, None)
    assert (after.row, after.patient_since) == (row(DOWN), 200.0)


def test_a_call_that_is_under_way_stays_known_when_the_row_moves_on() -> None:
    assert moved(node(UP, pending(UP), phase=CALLING), row(DOWN), 200.0).phase == CALLING


def test_the_same_generation_read_again_voids_nothing() -> None:
    learned = node(UP, pending(UP), phase=JUDGING, conflicts=4, trouble=CAUSE)
    again = row(UP, lease_left=30.0)
    assert moved(learned, again, 200.0) == replace(learned, row=again)


def test_nothing_ends_before_a_call_of_another_worker_has_had_its_time() -> None:
    after = moved(node(UP), row(UP, unsettled_left=20.0), 200.0)
    assert after.fresh_after == 220.0
    assert moved(after, row(UP, unsettled_left=5.0), 201.0).fresh_after == 220.0


# -- an answer


def test_an_accepted_call_starts_patience_again_and_a_refused_one_does_not() -> None:
    waiting = node(UP, pending(UP))
    done = recorded(waiting, CALLING, action(START), 105.0)
    assert (done.patient_since, done.actions) == (105.0, {(UP.id, 1): (action(START),)})
    refused = recorded(done, CALLING, action(START, result="conflict"), 109.0)
    assert refused.patient_since == 105.0
    assert len(refused.actions[UP.id, 1]) == 2


@pytest.mark.parametrize("boots", [START, CREATE, UNSHELVE, REBOOT])
def test_a_call_that_boots_the_node_makes_no_other_boot_due(boots: str) -> None:
    due = node(UP, pending(UP), row=row(UP, boot_from=MOMENT))
    assert due.row.boot_due
    assert not recorded(due, CALLING, action(boots), 105.0).row.boot_due
    assert recorded(due, CALLING, action(boots, result="conflict"), 105.0).row.boot_due
    assert recorded(due, CALLING, action(STOP), 105.0).row.boot_due


@pytest.mark.parametrize("generation", [MOMENT, MOMENT + 1])
def test_a_boot_that_is_not_stored_yet_is_not_forgotten_when_the_row_is_read(
    generation: int,
) -> None:
    due = node(UP, pending(UP), row=row(UP, boot_from=MOMENT))
    booted = recorded(due, CALLING, action(START), 105.0)
    read = row(replace(UP, generation=generation), boot_from=MOMENT)
    assert not moved(booted, read, 106.0).row.boot_due
    later = replace(read, boot_from=MOMENT + 1)
    assert moved(booted, later, 106.0).row.boot_due


def test_looking_for_an_image_is_not_an_action() -> None:
    waiting = node(UP, pending(UP))
    assert recorded(waiting, CALLING, action(FIND_IMAGE), 105.0) == waiting


def test_a_node_never_goes_back_to_older_listings() -> None:
    assert looks_later(node(UP), 50.0).fresh_after == ACCEPTED
    assert looks_later(node(UP), 150.0).fresh_after == 150.0


@pytest.mark.parametrize("kind", Kind)
def test_a_boot_is_due_only_while_none_was_made_since_slurm_began_to_wait(kind: Kind) -> None:
    asked = command(kind=kind)
    assert not row(asked).boot_due
    assert row(asked, boot_from=MOMENT).boot_due
    assert row(asked, boot_from=MOMENT, booted=MOMENT - 1).boot_due
    assert not row(asked, boot_from=MOMENT, booted=MOMENT).boot_due
    assert asked.desired in Desired
