"""How each request ends when its node has come as far as it will."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.commands import Desired, Kind
from schemas.events import Cause, Transition
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.pending_nodes import BAKED, DOWN, SERVER, UP, action, node, row
from workers.broker.delivery import DeliveryHistory
from workers.clouds.actions import START
from workers.power.messages import node_end, outcomes
from workers.power.steps import Finish

if TYPE_CHECKING:
    from schemas.events import RequestEvent
    from workers.power.node import PendingNode

NOW = MOMENT + 60 * 10**9
CAUSE = Cause("quota", "Quota exceeded")
COMPLETED = Finish(Transition.COMPLETED, None, SERVER)
FAILED = Finish(Transition.FAILED, CAUSE, None)


def events(waiting: PendingNode, finish: Finish) -> dict[str, RequestEvent]:
    return {told.request_id: told for told in outcomes(waiting, finish, NOW)}


def ends(waiting: PendingNode, finish: Finish) -> dict[str, Transition]:
    return {id_: told.transition for id_, told in events(waiting, finish).items()}


def test_a_request_for_the_desired_state_ends_as_its_node_does() -> None:
    waiting = node(DOWN, pending(DOWN))
    assert ends(waiting, COMPLETED) == {DOWN.id: Transition.COMPLETED}
    assert ends(waiting, FAILED) == {DOWN.id: Transition.FAILED}


def test_an_older_request_for_the_same_completes_and_for_the_opposite_is_superseded() -> None:
    same = command(kind=Kind.SUSPEND, generation=MOMENT - 10**9)
    waiting = node(DOWN, pending(UP), pending(same), pending(DOWN))
    assert ends(waiting, COMPLETED) == {
        UP.id: Transition.SUPERSEDED,
        same.id: Transition.COMPLETED,
        DOWN.id: Transition.COMPLETED,
    }


def test_a_superseded_request_does_not_fail_though_its_node_does() -> None:
    told = events(node(DOWN, pending(UP), pending(DOWN)), FAILED)
    assert told[DOWN.id].cause == CAUSE
    assert told[UP.id].transition is Transition.SUPERSEDED
    assert told[UP.id].cause == Cause(
        "superseded", f"generation {DOWN.generation} wants the node down"
    )


@pytest.mark.parametrize("kind", [Kind.DEPLOY, Kind.RESUME])
def test_a_request_that_is_left_to_slurm_says_why(kind: Kind) -> None:
    """It named its own generation as the one that had superseded it."""
    asked, why = command(kind=kind), Cause("slurm_disagrees", "Slurm counts the node as running")
    told = events(node(asked, pending(asked)), Finish(Transition.SUPERSEDED, why, None))
    assert (told[asked.id].transition, told[asked.id].cause) == (Transition.SUPERSEDED, why)


def test_a_resume_fail_supersedes_the_resume() -> None:
    failed = command(kind=Kind.RESUME_FAIL, generation=MOMENT + 10**9)
    assert ends(node(failed, pending(UP), pending(failed)), COMPLETED) == {
        UP.id: Transition.SUPERSEDED,
        failed.id: Transition.COMPLETED,
    }


def test_an_outcome_carries_the_server_and_the_actions_of_its_own_round() -> None:
    first = pending(UP, DeliveryHistory(round=1))
    second = pending(UP, DeliveryHistory(round=2, attempt=1))
    made = {
        (UP.id, 1): (action(START, result="conflict"),),
        (UP.id, 2): (action(START),),
    }
    told = outcomes(node(UP, first, second, actions=made), COMPLETED, NOW)
    assert [one.round for one in told] == [1, 2]
    assert [one.attempt for one in told] == [0, 1]
    assert [one.time for one in told] == [NOW, NOW]
    assert [one.actions for one in told] == list(made.values())
    assert {(one.cloud, one.server_id, one.address) for one in told} == {
        ("main", "id-1", "10.0.0.7")
    }


def test_a_superseded_request_lists_the_actions_made_for_it() -> None:
    made = {(UP.id, 1): (action(START),)}
    told = events(node(DOWN, pending(UP), pending(DOWN), actions=made), COMPLETED)
    assert told[UP.id].actions == (action(START),)
    assert told[DOWN.id].actions == ()


def test_a_node_that_is_off_has_no_address_and_one_without_a_server_keeps_its_last_id() -> None:
    waiting = node(DOWN, pending(DOWN), row=row(DOWN, "id-9"))
    told = events(waiting, COMPLETED)[DOWN.id]
    assert (told.server_id, told.address) == ("id-1", None)
    assert events(waiting, replace(COMPLETED, server=None))[DOWN.id].server_id == "id-9"


def test_a_dry_run_reports_no_address() -> None:
    """The server that was listed was not started."""
    told = events(node(UP, pending(UP, dry_run=True)), COMPLETED)[UP.id]
    assert (told.address, told.dry_run, told.server_id) == (None, True, "id-1")


def test_a_bake_reports_its_image_and_supersedes_an_older_one_of_another_name() -> None:
    older = command(kind=Kind.BAKE, generation=MOMENT)
    waiting = node(BAKED, pending(older), pending(BAKED), image_id="image")
    assert (waiting.baking, waiting.is_overtaken) == (BAKED, False)
    told = events(waiting, COMPLETED)
    assert (told[BAKED.id].transition, told[BAKED.id].image_id) == (Transition.COMPLETED, "image")
    assert (told[older.id].transition, told[older.id].image_id) == (Transition.SUPERSEDED, None)
    assert events(waiting, FAILED)[BAKED.id].image_id is None


def test_an_older_bake_does_not_act_for_a_newer_one_that_waits_elsewhere() -> None:
    """It does not know how the newer one names its image."""
    older = command(kind=Kind.BAKE, generation=MOMENT)
    waiting = node(BAKED, pending(older))
    assert (waiting.baking, waiting.is_overtaken) == (None, True)
    assert ends(waiting, COMPLETED) == {older.id: Transition.SUPERSEDED}
    assert not node(DOWN, pending(older)).is_overtaken


@pytest.mark.parametrize("kind", [Kind.RETIRE, Kind.DEPLOY])
def test_an_older_request_does_not_delete_or_power_off_for_one_that_waits_elsewhere_or_has_ended(
    kind: Kind,
) -> None:
    """A retirement that failed must not take effect because an old resume was replayed."""
    newer = command(kind=kind, generation=MOMENT + 10**9)
    for older in (command(), command(kind=kind), command(kind=Kind.SUSPEND)):
        waiting = node(newer, pending(older))
        assert waiting.is_overtaken
        assert ends(waiting, COMPLETED) == {older.id: Transition.SUPERSEDED}
    assert not node(newer, pending(newer)).is_overtaken


@pytest.mark.parametrize("want", Desired)
def test_a_node_without_requests_ends_nothing(want: Desired) -> None:
    assert outcomes(node(UP if want is Desired.UP else DOWN), FAILED, NOW) == ()


def test_the_observed_status_is_the_servers_else_the_error() -> None:
    def observed(finish: Finish) -> tuple[str | None, str] | None:
        return node_end(node(UP), finish, NOW).observed

    assert observed(COMPLETED) == ("id-1", "ACTIVE")
    assert observed(FAILED) == (None, "quota")
    assert observed(replace(COMPLETED, server=None)) == (None, "NONE")
