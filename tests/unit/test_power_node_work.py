"""A node under reconciliation: what is known of it, and what becomes of who waits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from workers.power.node_work import DONE, Work, actions_from_json, actions_to_json

from schemas.commands import Desired, Kind, PowerCommand
from schemas.events import Cause, CloudAction, Transition
from schemas.server import Server
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from workers.clouds.actions import START, STOP
from workers.clouds.servers import ServerView
from workers.config.groups import GroupSettings
from workers.power.desired_state import DesiredRow
from workers.power.intake import DeliveryHistory

if TYPE_CHECKING:
    from workers.power.intake import Pending

NOW = MOMENT + 60 * 10**9
OLD = command(kind=Kind.RESUME, generation=MOMENT)
NEW = command(kind=Kind.SUSPEND, generation=MOMENT + 10**9)
SERVER = Server("id-1", "node1", "ACTIVE", address="10.0.0.7")
GROUP = GroupSettings(nodes="node1", cloud="main", boot_timeout=7, stop_timeout=8, boots=2)
CAUSE = Cause("quota", "Quota exceeded")


def row(asked: PowerCommand, server_id: str | None = None) -> DesiredRow:
    return DesiredRow(asked.node, asked.desired, asked.generation, asked.id, server_id, "we", 60.0)


def work(wanted: PowerCommand, *waiting: Pending, server_id: str | None = None) -> Work:
    made = Work("node1", "all", GROUP, row(wanted, server_id), began=MOMENT, look_after=100.0)
    made.pending = list(waiting)
    return made


def view(as_of: float, *servers: Server) -> ServerView:
    seen = ServerView("test")
    seen.fold(servers or [SERVER], as_of, whole=True)
    return seen


def action(name: str, time: int = NOW, result: str = DONE) -> CloudAction:
    return CloudAction(name, "id-1", time, result)


# -- outcomes


def ended(of: Work, transition: Transition, cause: Cause | None = None) -> dict[str, object]:
    events = of.events(transition, cause, SERVER, NOW)
    return {request.command.id: told.transition for request, told in events}


def test_what_asked_for_the_desired_state_ends_as_the_node_does() -> None:
    waiting = work(NEW, pending(NEW))
    assert ended(waiting, Transition.COMPLETED) == {NEW.id: Transition.COMPLETED}
    assert ended(waiting, Transition.FAILED, CAUSE) == {NEW.id: Transition.FAILED}


def test_an_older_request_for_the_same_completes_and_for_the_opposite_is_superseded() -> None:
    same = command(kind=Kind.SUSPEND, generation=MOMENT - 10**9)
    waiting = work(NEW, pending(OLD), pending(same), pending(NEW))
    assert ended(waiting, Transition.COMPLETED) == {
        OLD.id: Transition.SUPERSEDED,
        same.id: Transition.COMPLETED,
        NEW.id: Transition.COMPLETED,
    }


def test_a_superseded_request_does_not_fail_though_the_node_does() -> None:
    waiting = work(NEW, pending(OLD), pending(NEW))
    events = {p.command.id: e for p, e in waiting.events(Transition.FAILED, CAUSE, None, NOW)}
    assert events[NEW.id].cause == CAUSE
    assert events[OLD.id].transition is Transition.SUPERSEDED
    assert events[OLD.id].cause == Cause(
        "superseded", f"generation {NEW.generation} wants the node down"
    )


def test_resume_fail_wants_the_node_down() -> None:
    failed = command(kind=Kind.RESUME_FAIL, generation=MOMENT + 10**9)
    waiting = work(failed, pending(OLD), pending(failed))
    assert ended(waiting, Transition.COMPLETED) == {
        OLD.id: Transition.SUPERSEDED,
        failed.id: Transition.COMPLETED,
    }


def test_an_outcome_says_where_the_node_runs_and_what_was_done_for_this_round() -> None:
    first, second = (
        pending(OLD, DeliveryHistory(round=1)),
        pending(OLD, DeliveryHistory(round=2, attempt=1)),
    )
    waiting = work(OLD, first, second)
    waiting.record((OLD.id, 1), action(START, result="conflict"))
    waiting.record((OLD.id, 2), action(START))
    events = [told for _, told in waiting.events(Transition.COMPLETED, None, SERVER, NOW)]
    assert [told.round for told in events] == [1, 2]
    assert [told.attempt for told in events] == [0, 1]
    assert [told.actions for told in events] == [
        (action(START, result="conflict"),),
        (action(START),),
    ]
    assert {(told.cloud, told.server_id, told.address) for told in events} == {
        ("main", "id-1", "10.0.0.7")
    }


def test_a_superseded_request_lists_the_actions_already_made_for_it() -> None:
    waiting = work(NEW, pending(OLD), pending(NEW))
    waiting.record((OLD.id, 1), action(START))
    events = {p.command.id: e for p, e in waiting.events(Transition.COMPLETED, None, SERVER, NOW)}
    assert events[OLD.id].actions == (action(START),)
    assert events[NEW.id].actions == ()


def test_a_node_that_is_down_has_no_address_and_one_without_a_server_keeps_its_last_id() -> None:
    waiting = work(NEW, pending(NEW), server_id="id-9")
    [(_, told)] = waiting.events(Transition.COMPLETED, None, SERVER, NOW)
    assert (told.server_id, told.address) == ("id-1", None)
    [(_, told)] = waiting.events(Transition.COMPLETED, None, None, NOW)
    assert told.server_id == "id-9"


# -- baking


def test_a_bake_tells_its_image_and_an_older_one_with_another_name_is_superseded() -> None:
    older = command(kind=Kind.BAKE, generation=MOMENT)
    newer = replace(command(kind=Kind.BAKE, generation=MOMENT + 10**9), image="better")
    waiting = work(newer, pending(older), pending(newer))
    assert (waiting.baking, waiting.overtaken) == (newer, False)
    waiting.image_id = "image"
    events = {p.command.id: e for p, e in waiting.events(Transition.COMPLETED, None, SERVER, NOW)}
    assert (events[newer.id].transition, events[newer.id].image_id) == (
        Transition.COMPLETED,
        "image",
    )
    assert (events[older.id].transition, events[older.id].image_id) == (
        Transition.SUPERSEDED,
        None,
    )


def test_older_bakes_do_not_act_for_a_newer_one_that_waits_elsewhere() -> None:
    """They do not know how it names its image."""
    older = command(kind=Kind.BAKE, generation=MOMENT)
    newer = command(kind=Kind.BAKE, generation=MOMENT + 10**9)
    waiting = work(newer, pending(older))
    assert (waiting.baking, waiting.overtaken) == (None, True)
    assert ended(waiting, Transition.COMPLETED) == {older.id: Transition.SUPERSEDED}
    assert not work(NEW, pending(older)).overtaken


# -- on whose behalf


def test_actions_are_made_on_behalf_of_the_request_that_raised_the_state_in_its_last_round() -> (
    None
):
    waiting = work(NEW, pending(OLD), pending(NEW), pending(NEW, DeliveryHistory(round=3)))
    assert waiting.key == (NEW.id, 3)
    assert waiting.correlation_id(waiting.key) == NEW.correlation_id


def test_a_late_request_acts_on_behalf_of_the_one_that_has_raised_the_state() -> None:
    waiting = work(NEW, pending(OLD))
    assert waiting.key == (NEW.id, 1)
    assert waiting.correlation_id(waiting.key) is None


# -- sight


@pytest.mark.parametrize(
    ("as_of", "called", "known"),
    [
        (100.5, False, "settles"),
        (100.5, True, "settles"),
        (100.0, False, "seen"),  # requested at the moment itself: not after it
        (99.0, False, "seen"),
        (98.0, False, "seen"),
        (97.9, False, "nothing"),
        (99.0, True, "nothing"),
    ],
)
def test_what_a_listing_is_worth(as_of: float, called: bool, known: str) -> None:  # noqa: FBT001
    waiting = work(OLD, pending(OLD))
    waiting.called = called
    seen = waiting.sight(view(as_of), NOW, oldest=98.0)
    worth = "nothing" if seen is None else "settles" if seen.settles else "seen"
    assert worth == known


def test_before_the_first_listing_nothing_is_known() -> None:
    assert work(OLD, pending(OLD)).sight(ServerView("test"), NOW, oldest=98.0) is None


def test_calls_that_were_taken_count_by_their_kind() -> None:
    waiting = work(OLD, pending(OLD))
    for made in (
        action(STOP),
        action(START, time=NOW - 3),
        action(START, result="conflict"),
        action(START, time=NOW - 1),
        action(START, result="server_side"),
    ):
        waiting.record(waiting.key, made)
    seen = waiting.sight(view(101.0), NOW, oldest=0.0)
    assert seen is not None
    assert (seen.calls, seen.waited_since) == ({STOP: 1, START: 2}, NOW - 1)


def test_patience_begins_with_the_work_where_nothing_was_done() -> None:
    seen = work(OLD, pending(OLD)).sight(view(101.0), NOW, oldest=0.0)
    assert seen is not None
    assert (seen.calls, seen.waited_since) == ({}, MOMENT)


def test_each_round_counts_its_own_calls() -> None:
    waiting = work(OLD, pending(OLD, DeliveryHistory(round=2)))
    waiting.record((OLD.id, 1), action(START))
    seen = waiting.sight(view(101.0), NOW, oldest=0.0)
    assert seen is not None
    assert seen.calls == {}


def test_the_server_acted_on_before_is_looked_for_first() -> None:
    other = replace(SERVER, id="id-2")
    seen = work(OLD, pending(OLD), server_id="id-2").sight(view(101.0, SERVER, other), NOW, 0.0)
    assert seen is not None
    assert seen.servers == (other,)


def test_its_group_sets_its_patience() -> None:
    limits = work(OLD).limits
    assert (limits.boot_timeout, limits.stop_timeout, limits.calls) == (7, 8, 2)


def test_actions_are_kept_as_they_were() -> None:
    made = [action(START), action(STOP, result="conflict")]
    assert actions_from_json(actions_to_json(made)) == made
    assert actions_from_json("[]") == []


@pytest.mark.parametrize("want", Desired)
def test_nobody_waiting_is_no_trouble(want: Desired) -> None:
    assert work(OLD if want is Desired.UP else NEW).events(Transition.FAILED, CAUSE, None, 1) == []
