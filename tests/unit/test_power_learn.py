"""What the engine learns about a node from the answer to a call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import Kind, PowerCommand
from schemas.events import Cause, Transition
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.pending_nodes import ACCEPTED, BAKED, DOWN, UP, action, node, row
from workers.clouds.actions import BAKE, CREATE, DELETE, FIND_IMAGE, REBOOT, START, STOP, UNSHELVE
from workers.clouds.decide import Act
from workers.clouds.errors import (
    MAY_BE_DONE,
    CloudError,
    ImageLostError,
    ImageNotReadyError,
    NotWantedError,
    Then,
    classify,
    may_take_effect,
)
from workers.errors import LamplighterError, TokenError, TokenServiceAwayError
from workers.power.admit import DISAGREES, FIRST_TIER, UNCONFIRMED
from workers.power.next_step import learn_answer
from workers.power.node import LOOKING, Calling, Decided, Judging, PendingNode, looks_later, moved
from workers.power.steps import Finish, ParkNode

NOW = 105.0
TIMEOUT = 20.0
BROKEN = Cause("server_error", "it broke")
CONFLICT = CloudError(409, "not now")
ACT = Act(START, "id-1")


def calling(
    action_name: str = START, *, waiting: PendingNode | None = None, because: Cause | None = None
) -> PendingNode:
    """A node with a call under way."""
    waiting = waiting or node(UP, pending(UP))
    call = Calling(Act(action_name, "id-1", because), waiting.row, waiting.key, since=101.0)
    return replace(waiting, phase=call)


def learned(before: PendingNode, answer: str | Exception, tries: int = 1) -> PendingNode:
    """The node after the answer to its call, of which this many tries were sent."""
    call = before.phase
    assert isinstance(call, Calling)
    refused = isinstance(answer, str | NotWantedError)
    verdict = None if refused or isinstance(answer, str) else classify(answer)
    settles = TIMEOUT if may_take_effect(answer, tries) else 0.0
    return learn_answer(before, call, answer, verdict, now=NOW, time_ns=MOMENT, settles=settles)


# -- a good answer


def test_an_accepted_call_is_recorded_and_only_later_listings_count() -> None:
    after = learned(calling(), "id-1")
    assert after.actions == {(UP.id, 1): (action(START),)}
    assert (after.phase, after.called, after.fresh_after) == (LOOKING, True, NOW)
    assert after.patient_since == NOW


def test_a_creation_is_recorded_with_the_id_of_the_new_server() -> None:
    after = learned(calling(CREATE), "id-new")
    assert after.actions[UP.id, 1][0].server_id == "id-new"


def test_a_call_is_recorded_for_the_round_that_made_it_though_the_row_has_moved_on() -> None:
    overtaken = moved(calling(), row(DOWN), 103.0)
    after = learned(overtaken, "id-1")
    assert after.actions == {(UP.id, 1): (action(START),)}
    assert (after.row.generation, after.fresh_after) == (DOWN.generation, NOW)


def test_an_accepted_call_ends_a_row_of_conflicts() -> None:
    assert learned(replace(calling(), conflicts=5), "id-1").conflicts == 0


def test_a_server_that_is_deleted_for_a_fault_leaves_that_fault_as_the_cause() -> None:
    assert learned(calling(DELETE, because=BROKEN), "id-1").trouble == BROKEN
    assert learned(calling(DELETE), "id-1").trouble is None


def test_a_boot_that_was_due_is_done_with_the_call_that_boots() -> None:
    due = node(UP, pending(UP), row=row(UP, boot_from=MOMENT))
    assert not learned(calling(REBOOT, waiting=due), "id-1").row.boot_due
    assert learned(calling(REBOOT, waiting=due), CONFLICT).row.boot_due
    assert learned(calling(REBOOT, waiting=due), CloudError(504, "late")).row.boot_due


@pytest.mark.parametrize(
    "answer", [CloudError(504, "late"), CloudError(503, "no"), CloudError(None, "reset")]
)
def test_a_server_that_runs_after_a_call_whose_effect_is_unknown_has_booted(
    answer: CloudError,
) -> None:
    """It was off, or there was none: a reboot could meet a job."""
    due = node(UP, pending(UP), row=row(UP, boot_from=MOMENT))
    for action_name in (START, CREATE, UNSHELVE):
        assert not learned(calling(action_name, waiting=due), answer).row.boot_due
        assert learned(calling(action_name, waiting=due), CONFLICT).row.boot_due


def test_an_image_that_is_found_counts_only_for_the_generation_that_asked_for_it() -> None:
    baking = calling(FIND_IMAGE, waiting=node(BAKED, pending(BAKED)))
    assert learned(baking, "image").image_id == "image"
    assert learned(baking, "image").actions == {}
    newer = replace(row(BAKED), generation=BAKED.generation + 1)
    assert learned(moved(baking, newer, 103.0), "image").image_id is None


def test_the_id_of_a_baked_server_is_not_taken_for_an_image() -> None:
    assert learned(calling(BAKE, waiting=node(BAKED, pending(BAKED))), "id-1").image_id is None


# -- a refused call


def test_a_call_that_the_guard_refused_leaves_no_trace_but_older_listings_no_longer_count() -> None:
    after = learned(calling(), NotWantedError("generation 8 has come"), tries=0)
    assert (after.phase, after.called, after.fresh_after) == (LOOKING, True, NOW)
    assert (after.actions, after.conflicts, after.patient_since) == ({}, 0, ACCEPTED)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (NotWantedError("generation 8 has come"), 1),
        (TokenServiceAwayError("nobody answered"), 1),
        ("id-1", 2),
        (CONFLICT, 2),
        (CloudError(403, "no"), 2),
        (CloudError(429, "slow"), 2),
    ],
)
def test_an_earlier_try_of_a_call_may_still_take_effect_whatever_the_last_one_was_answered(
    answer: str | Exception, tries: int
) -> None:
    """A suspend's, sent again after a broken connection, could stop a node whose resume has ended since."""
    assert learned(calling(), answer, tries=tries - 1).fresh_after <= NOW
    assert learned(calling(), answer, tries=tries).fresh_after == NOW + TIMEOUT


def test_a_power_off_that_slurm_has_not_confirmed_is_parked() -> None:
    waits = Cause(UNCONFIRMED, "no newer snapshot of Slurm has come")
    after = learned(calling(STOP), NotWantedError(waits.message, waits.error))
    assert after.phase == Decided(ParkNode(waits, FIRST_TIER))


@pytest.mark.parametrize(
    ("name", "asked"),
    [(STOP, command(kind=Kind.DEPLOY)), (REBOOT, UP), (DELETE, UP), (CREATE, UP)],
)
def test_a_node_that_runs_for_slurm_is_left_to_slurm(name: str, asked: PowerCommand) -> None:
    """It may run a job; a new server, Slurm powers off itself when it is idle."""
    registered = Cause(DISAGREES, "Slurm counts the node as running")
    before = calling(name, waiting=node(asked, pending(asked)))
    for ends, step in (
        (True, Finish(Transition.SUPERSEDED, registered, None)),
        (False, ParkNode(registered, FIRST_TIER)),
    ):
        refused = NotWantedError(registered.message, registered.error, ends=ends)
        assert learned(before, refused).phase == Decided(step)
    newer = moved(before, row(DOWN), 103.0)
    assert learned(newer, NotWantedError("up", DISAGREES, ends=True)).phase == LOOKING


# -- an error


@pytest.mark.parametrize(
    ("error", "result", "phase"),
    [
        (CloudError(403, "no"), "forbidden", "refused"),
        (CloudError(403, "Quota exceeded"), "quota", "refused"),
        (CloudError(400, "no"), "bad_request", "refused"),
        (ImageLostError("gone"), "image_failed", "refused"),
        (CONFLICT, "conflict", "looking"),
        (CloudError(404, "gone"), "not_found", "looking"),
        (ImageNotReadyError("saving"), "image_not_ready", "looking"),
        (CloudError(500, "boom"), "server_side", "judging"),
        (CloudError(504, "late"), "server_side", "judging"),
        (CloudError(None, "reset by peer"), "network", "judging"),
        (KeyError("server"), "unknown", "judging"),
        (CloudError(429, "slow", retry_after=3.0), "over_limit", "looking"),
        (CloudError(401, "who?"), "unauthorized", "excused"),
        (TokenServiceAwayError("nobody"), "token_service_away", "looking"),
        (TokenError("no token"), "token", "excused"),
    ],
)
def test_each_error_of_a_call_has_its_next_step(error: Exception, result: str, phase: str) -> None:
    after = learned(calling(), error)
    [made] = after.actions[UP.id, 1]
    assert (made.action, made.server_id, made.result) == (START, "id-1", result)
    cause = classify(error).cause
    steps = {
        "refused": Judging(cause, ACT, Then.REJECT),
        "judging": Judging(cause, ACT),
        "excused": Judging(cause, ACT, Then.PARK),
        "looking": LOOKING,
    }
    assert after.phase == steps[phase]
    # what may have been made may take effect, and then has its time
    assert after.patient_since == (NOW if result in MAY_BE_DONE else ACCEPTED)


def test_a_call_without_an_answer_must_have_had_its_time_before_anything_ends() -> None:
    assert learned(calling(), CloudError(None, "reset")).fresh_after == NOW + TIMEOUT
    assert learned(calling(), CloudError(504, "gateway")).fresh_after == NOW + TIMEOUT
    assert learned(calling(), CloudError(500, "boom")).fresh_after == NOW


def test_a_cloud_that_asks_to_slow_down_has_changed_nothing() -> None:
    """The listing that led to the call still counts."""
    after = learned(calling(), CloudError(429, "slow", retry_after=3.0))
    assert (after.called, after.fresh_after) == (False, ACCEPTED)


@pytest.mark.parametrize(
    "error", [CloudError(429, "slow", retry_after=1.0), CloudError(401, "who?"), TokenError("none")]
)
def test_refusals_for_hours_do_not_fill_the_record_of_a_round(error: Exception) -> None:
    """The record is written again with each answer, and its outcome is one message."""
    waiting = calling()
    answers: list[str | Exception] = [
        "id-1",
        *[error] * 1000,
        CloudError(500, "boom"),
        error,
        "id-1",
    ]
    for answer in (*answers, CloudError(500, "boom"), CloudError(500, "boom")):
        waiting = replace(learned(waiting, answer), phase=waiting.phase)
    name = classify(error).cause.error
    results = [made.result for made in waiting.actions[UP.id, 1]]
    assert results == ["done", name, "server_side", name, "done", *["server_side"] * 2]


def test_after_six_conflicts_in_a_row_an_attempt_has_failed() -> None:
    waiting = calling()
    for number in range(1, 6):
        after = learned(waiting, CONFLICT)
        assert (after.phase, after.conflicts) == (LOOKING, number)
        waiting = replace(after, phase=waiting.phase)
    assert learned(waiting, CONFLICT).phase == Judging(classify(CONFLICT).cause, ACT, Then.LOOK)


@pytest.mark.parametrize(
    "error", [CloudError(500, "boom"), CloudError(403, "no"), CONFLICT, CloudError(None, "reset")]
)
def test_an_error_of_an_overtaken_call_costs_the_newer_request_nothing(
    error: CloudError,
) -> None:
    overtaken = moved(replace(calling(), conflicts=5), row(DOWN), 103.0)
    after = learned(overtaken, error)
    assert (after.phase, after.conflicts) == (LOOKING, 0)
    assert after.actions[UP.id, 1][0].result == classify(error).cause.error
    assert after.fresh_after >= NOW


ERRORS = st.one_of(
    st.builds(
        CloudError,
        st.none() | st.integers(400, 599),
        st.just("so it said"),
        retry_after=st.none() | st.just(3.0),
    ),
    st.builds(NotWantedError, st.just("moved on"), st.integers(0, 2)),
    st.sampled_from([TokenError("no token"), KeyError("x"), LamplighterError("other")]),
)


@given(
    st.one_of(st.just("id-1"), ERRORS),
    st.sampled_from([START, STOP, CREATE, DELETE, REBOOT, BAKE]),
    st.floats(50.0, 200.0),
    st.booleans(),
)
def test_after_any_answer_no_listing_from_before_it_ends_a_round(
    answer: str | Exception,
    action_name: str,
    fresh_after: float,
    overtaken: bool,  # noqa: FBT001
) -> None:
    """Only a refusal to slow down changes nothing; what may take effect later has its time."""
    before = looks_later(calling(action_name), fresh_after)
    if overtaken:
        before = moved(before, row(DOWN), 103.0)
    after = learned(before, answer)
    assert not after.is_calling
    assert after.fresh_after >= before.fresh_after
    if may_take_effect(answer, 1):
        assert after.fresh_after >= NOW + TIMEOUT
    slow = isinstance(answer, CloudError) and classify(answer).then is Then.SLOW_DOWN
    assert after.called is not slow
    assert slow or after.fresh_after >= NOW
    if overtaken:
        assert after.phase == LOOKING
