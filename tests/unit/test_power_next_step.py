"""The next step of a node: nothing ends on an old or partial listing, and every round comes to an end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import Desired, Kind
from schemas.events import Cause, Transition
from schemas.server import Server
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.pending_nodes import (
    ACCEPTED,
    BAKED,
    DOWN,
    GROUP,
    SERVER,
    TEMPLATE,
    UP,
    action,
    cloud,
    listed,
    node,
    row,
)
from workers.clouds.actions import (
    CREATE,
    DELETE,
    PASSING,
    REBOOT,
    START,
    STOP,
    UNSEEN,
    UNSHELVE,
    Strategy,
)
from workers.clouds.decide import SERVER_UNSEEN, Act
from workers.clouds.errors import CloudError, Then, classify, may_take_effect
from workers.clouds.health import Health
from workers.power.admit import FIRST_TIER
from workers.power.next_step import BOOTS_STUCK, CloudSituation, learn_answer, next_step
from workers.power.node import (
    DONE,
    LOOKING,
    QUEUED,
    Calling,
    Decided,
    Judging,
    PendingNode,
    joined,
)
from workers.power.steps import Finish, MakeCall, ParkNode, Retry, Step, WaitFor
from workers.store.power_store import OtherBoot

if TYPE_CHECKING:
    from schemas.commands import PowerCommand
    from schemas.events import CloudAction
    from workers.config.groups import GroupSettings

FAULT = Cause("server_side", "HTTP 500: boom")
AWAY = Cause("network", "reset by peer")
NO_ROOM = Cause("quota", "not tried: group all rests for 30 s more")
OFF = replace(SERVER, status="SHUTOFF")
BOOTING = replace(OFF, task="powering-on")
FOR_ANYTHING, FOR_A_LISTING = WaitFor(), WaitFor(listing=True)
FOR_A_WHOLE_LISTING = WaitFor(listing=True, whole=True)
CALLING = Calling(Act(START, "id-1"), row(UP), (UP.id, 1), since=101.0)
JUDGING = Judging(FAULT, Act(START, "id-1"))
# a boot whose patience of 7 s began at 100
LIT = node(UP, pending(UP), actions={(UP.id, 1): (action(START),)}, called=True)


def step(
    waiting: PendingNode,
    seen: CloudSituation,
    *,
    refusal: Cause | None = None,
    registered: bool = False,
    now: float = 110.0,
) -> Step:
    return next_step(waiting, seen, refusal, registered=registered, now=now)


# -- phases


@pytest.mark.parametrize("server", [SERVER, OFF])
def test_during_a_call_only_its_answer_counts(server: Server) -> None:
    assert (
        step(node(UP, pending(UP), phase=CALLING), cloud(listed(server, at=105.0))) == FOR_ANYTHING
    )


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("server", [SERVER, OFF])
def test_nothing_is_called_for_a_node_whose_requests_have_gone(
    server: Server,
    away: bool,  # noqa: FBT001
) -> None:
    """Its connection was lost during a call. The request may end when it comes again: Slurm gave it up."""
    seen = replace(cloud(listed(server, at=105.0)), tokens_away=away)
    for phase in (LOOKING, QUEUED, JUDGING, Decided(ParkNode(FAULT, FIRST_TIER))):
        assert isinstance(step(node(UP, phase=phase), seen), ParkNode)
    assert step(node(UP, phase=CALLING), seen) == FOR_ANYTHING


def test_without_the_token_service_nothing_is_decided() -> None:
    seen = replace(cloud(listed(SERVER, at=105.0)), tokens_away=True)
    for phase in (LOOKING, QUEUED, JUDGING, Decided(ParkNode(FAULT, FIRST_TIER))):
        assert step(node(UP, pending(UP), phase=phase), seen) == FOR_ANYTHING


def test_a_node_on_a_cloud_that_is_away_is_parked_without_an_attempt() -> None:
    away = Health().listing_failed(AWAY, 100.0)
    for server in (SERVER, OFF):
        seen = cloud(listed(server, at=105.0), health=away)
        assert step(LIT, seen) == ParkNode(AWAY, "power.retry.5s")
        assert step(LIT, seen, now=161.0) == ParkNode(AWAY, "power.retry.30s")


def test_a_node_whose_call_was_not_made_rests_whatever_was_listed() -> None:
    decided = ParkNode(FAULT, FIRST_TIER)
    assert step(replace(LIT, phase=Decided(decided)), cloud(listed(at=0.0))) == decided


def test_a_bake_that_a_later_one_has_overtaken_ends_at_once() -> None:
    older = command(kind=Kind.BAKE, generation=MOMENT)
    waiting = node(BAKED, pending(older))
    assert step(waiting, cloud(listed(at=0.0))) == Finish(Transition.COMPLETED, None, None)


def test_a_call_is_made_from_a_recent_listing_and_queued_only_once() -> None:
    seen = cloud(listed(OFF, at=105.0))
    assert step(node(UP, pending(UP)), seen) == MakeCall(Act(START, "id-1"))
    assert step(node(UP, pending(UP), phase=QUEUED), seen) == FOR_ANYTHING


def test_a_queued_node_that_needs_no_call_any_more_completes() -> None:
    done = step(node(UP, pending(UP), phase=QUEUED), cloud(listed(SERVER, at=105.0)))
    assert done == Finish(Transition.COMPLETED, None, SERVER)


@pytest.mark.parametrize(
    ("as_of", "called", "known"),
    [
        (100.5, False, "fresh"),
        (100.5, True, "fresh"),
        (100.0, False, "old"),  # requested at the moment of acceptance itself: not after it
        (99.0, False, "old"),
        (98.0, False, "old"),
        (97.9, False, "nothing"),
        (100.0, True, "nothing"),
        (99.0, True, "nothing"),
    ],
)
def test_what_a_listing_is_worth(as_of: float, called: bool, known: str) -> None:  # noqa: FBT001
    """A fresh one ends rounds; an old one may start a server, unless a call was answered since."""
    lit = replace(cloud(listed(SERVER, at=as_of)), oldest=98.0)
    dark = replace(cloud(listed(OFF, at=as_of)), oldest=98.0)
    waiting = node(UP, pending(UP), called=called)
    completes, starts = step(waiting, lit), step(waiting, dark)
    assert isinstance(completes, Finish) is (known == "fresh")
    assert isinstance(starts, MakeCall) is (known != "nothing")
    for one in (completes, starts):
        assert isinstance(one, Finish | MakeCall) or one == FOR_A_LISTING


def test_before_the_first_listing_nothing_is_known() -> None:
    seen = replace(cloud(listed(at=0.0)), oldest=98.0)
    for asked in (UP, DOWN):
        assert step(node(asked, pending(asked)), seen) == FOR_A_LISTING


@pytest.mark.parametrize(
    ("status", "strategy", "is_refused"),
    [
        ("SHELVED_OFFLOADED", "stop", True),
        ("none", "delete", True),
        ("SHUTOFF", "stop", False),
        ("ACTIVE", "stop", False),
    ],
)
def test_a_resting_group_may_do_all_that_needs_no_room(
    status: str,
    strategy: str,
    is_refused: bool,  # noqa: FBT001
) -> None:
    servers = () if status == "none" else (replace(SERVER, status=status),)
    group = msgspec.structs.replace(GROUP, strategy=strategy, server=TEMPLATE)
    seen = cloud(listed(*servers, at=105.0))
    waiting = node(UP, pending(UP), group=group)
    taken = step(waiting, seen, refusal=NO_ROOM)
    assert (taken == Finish(Transition.FAILED, NO_ROOM, None)) is is_refused
    for at, whole in ((99.0, 99.0), (105.0, 100.0)):  # a server may have been made since
        early = step(waiting, cloud(listed(*servers, at=at, whole=whole)), refusal=NO_ROOM)
        assert not isinstance(early, Finish) or early.transition is Transition.COMPLETED


# -- patience and whole listings


def test_a_server_in_transition_is_waited_for_until_its_patience_is_over() -> None:
    assert step(LIT, cloud(listed(BOOTING, at=103.0)), now=104.0) == WaitFor(until=107.0)


def test_patience_that_is_over_still_needs_a_listing_that_was_requested_after_it() -> None:
    assert step(LIT, cloud(listed(BOOTING, at=106.9)), now=107.0) == FOR_A_LISTING
    assert step(LIT, cloud(listed(BOOTING, at=107.0)), now=108.0) == FOR_A_LISTING
    failed = step(LIT, cloud(listed(BOOTING, at=107.1)), now=108.0)
    assert isinstance(failed, Finish)
    assert failed.cause is not None
    assert failed.cause.error == "boot_timeout"


@pytest.mark.parametrize("whole", [90.0, 100.0, 103.0, 107.0])
def test_a_listing_of_changes_fails_nothing(whole: float) -> None:
    """It may have missed the server's last change: clocks of Nova's hosts differ."""
    late = cloud(listed(BOOTING, at=109.0, whole=whole))
    assert step(LIT, late) == FOR_A_WHOLE_LISTING
    failed = step(LIT, cloud(listed(BOOTING, at=109.0, whole=107.1)))
    assert isinstance(failed, Finish)


@pytest.mark.parametrize(
    ("asked", "servers"),
    [
        (UP, ()),
        (UP, (replace(SERVER, status="NEW_WORD"),)),
        (DOWN, (SERVER, replace(SERVER, id="id-2"))),
        (BAKED, (replace(SERVER, status="ERROR"),)),
    ],
    ids=["missing", "odd status", "ambiguous", "in error"],
)
def test_no_failure_is_read_from_a_listing_of_changes(
    asked: PowerCommand, servers: tuple[Server, ...]
) -> None:
    waiting = node(asked, pending(asked))
    assert step(waiting, cloud(listed(*servers, at=105.0, whole=99.0))) == FOR_A_WHOLE_LISTING
    assert isinstance(step(waiting, cloud(listed(*servers, at=105.0, whole=101.0))), Finish)


@pytest.mark.parametrize("asked", [UP, DOWN, BAKED])
def test_a_server_of_which_the_cloud_says_nothing_waits_without_a_failure(
    asked: PowerCommand,
) -> None:
    """Its cell does not answer: that is no fault of the node, however long it lasts."""
    waiting = replace(node(asked, pending(asked)), actions={(asked.id, 1): (action(START),)})
    unseen = replace(SERVER, status=UNSEEN)
    parked = step(waiting, cloud(listed(unseen, at=10_000.0)))
    assert isinstance(parked, ParkNode)
    assert (parked.cause.error, parked.afresh) == (SERVER_UNSEEN, False)
    assert step(waiting, cloud(listed(unseen, at=105.0, whole=99.0))) == FOR_A_WHOLE_LISTING


@pytest.mark.parametrize("result", [DONE, "timeout"])
def test_a_server_is_created_again_only_on_a_whole_listing(result: str) -> None:
    """A job may run on the first one, which a listing of changes can miss; the second would be deleted."""
    group = msgspec.structs.replace(GROUP, strategy="delete", server=TEMPLATE)
    first = node(UP, pending(UP), group=group)
    assert step(first, cloud(listed(at=105.0, whole=99.0))) == MakeCall(Act(CREATE, ""))
    made = replace(first, actions={(UP.id, 1): (action(CREATE, result=result),)}, called=True)
    for whole in (99.0, 100.0):
        assert step(made, cloud(listed(at=105.0, whole=whole))) == FOR_A_WHOLE_LISTING
    assert step(made, cloud(listed(at=105.0, whole=104.0))) == MakeCall(Act(CREATE, ""))


def test_a_completion_needs_a_fresh_listing_but_not_a_whole_one() -> None:
    seen = cloud(listed(SERVER, at=105.0, whole=50.0))
    assert step(LIT, seen) == Finish(Transition.COMPLETED, None, SERVER)


# -- stuck boots


def peers(count: int, *, since: float, made: str = START) -> list[PendingNode]:
    """So many other nodes that boot, patient since then."""
    others = []
    for number in range(2, 2 + count):
        asked = command(f"node{number}")
        done = {(asked.id, 1): (action(made),)}
        others.append(node(asked, pending(asked), actions=done, patient_since=since))
    return others


def stuck(*others: PendingNode, health: Health | None = None, waiting: PendingNode = LIT) -> Step:
    return step(waiting, cloud(listed(BOOTING, at=109.0), waiting, *others, health=health))


@pytest.mark.parametrize(
    "others",
    [
        peers(1, since=105.0),
        peers(2, since=105.0),
        [*peers(3, since=107.0), *peers(2, since=105.0)],
    ],
    ids=["all there are", "all of three", "three of six"],
)
def test_a_boot_that_is_stuck_with_all_others_or_two_is_the_clouds_fault(
    others: list[PendingNode],
) -> None:
    """It is parked without an attempt, and its patience starts again."""
    parked = stuck(*others)
    assert isinstance(parked, ParkNode)
    assert (parked.cause.error, parked.afresh) == (BOOTS_STUCK, True)


def test_a_deployment_that_takes_too_long_fails_for_its_operator_also_if_boots_are_stuck() -> None:
    asked = command(kind=Kind.DEPLOY)
    deployed = node(asked, pending(asked), patient_since=80.0)
    failed = stuck(*peers(3, since=105.0), waiting=deployed)
    assert isinstance(failed, Finish)
    assert failed.cause is not None
    assert failed.cause.error == "boot_timeout"


@pytest.mark.parametrize(
    "others",
    [
        [],
        [*peers(2, since=107.0), *peers(1, since=105.0)],
        peers(2, since=107.0),  # for less than half their time
        peers(5, since=105.0, made=STOP),
        [replace(LIT, name=f"node{n}", row=row(DOWN)) for n in (2, 3)],
    ],
    ids=["alone", "one other of three", "young", "not booting", "powering off"],
)
def test_a_boot_that_is_stuck_alone_fails(others: list[PendingNode]) -> None:
    failed = stuck(*others)
    assert isinstance(failed, Finish)
    assert failed.cause is not None
    assert failed.cause.error == "boot_timeout"


def test_a_boot_fails_where_another_has_completed_since_it_began() -> None:
    others = peers(3, since=105.0)
    assert isinstance(stuck(*others, health=Health(booted_at=100.5)), Finish)
    assert isinstance(stuck(*others, health=Health(booted_at=99.0)), ParkNode)


def test_the_last_of_several_stuck_boots_is_parked_too() -> None:
    """The others are parked by then, and no longer there to count."""
    assert isinstance(stuck(health=Health(stuck_at=108.0)), ParkNode)
    assert isinstance(stuck(health=Health(stuck_at=103.0)), Finish)  # 7 s ago
    assert isinstance(stuck(health=Health(stuck_at=108.0, booted_at=109.0)), Finish)


def with_others(*elsewhere: OtherBoot, own: int = 0) -> Step:
    seen = cloud(listed(BOOTING, at=109.0), LIT, *peers(own, since=107.0))
    return step(LIT, replace(seen, elsewhere=lambda: elsewhere))


def test_boots_of_other_workers_count_too() -> None:
    """With two power workers, a dead compute service leaves one stuck boot with each."""
    old, young = OtherBoot("node5", 4.0, is_over=False), OtherBoot("node6", 3.0, is_over=False)
    assert isinstance(with_others(old), ParkNode)
    assert isinstance(with_others(young), Finish)
    assert isinstance(with_others(old, own=1), Finish)
    assert isinstance(with_others(old, replace(old, node="node7"), own=1), ParkNode)
    assert isinstance(with_others(replace(old, node="node1")), Finish)  # the node itself


def test_a_boot_fails_where_another_worker_has_completed_one_that_began_later() -> None:
    old = OtherBoot("node5", 4.0, is_over=False)
    assert isinstance(with_others(old, OtherBoot("node6", 9.5, is_over=True)), Finish)
    assert isinstance(with_others(old, OtherBoot("node6", 10.5, is_over=True)), ParkNode)
    # it booted before the store's clock was set back: nobody knows how long ago
    assert isinstance(with_others(old, OtherBoot("node6", -3000.0, is_over=True)), ParkNode)


@pytest.mark.parametrize("asked", [DOWN, BAKED])
def test_only_boots_are_excused_by_stuck_boots(asked: PowerCommand) -> None:
    group = msgspec.structs.replace(GROUP, bake_timeout=7.0, stop_timeout=7.0)
    waiting = node(asked, pending(asked), group=group)
    assert isinstance(stuck(*peers(5, since=105.0), waiting=waiting), Finish)


# -- whose fault


def judging(
    health: Health,
    *servers: Server,
    at: float = 109.0,
    whole: float | None = None,
    then: Then = Then.PROBE,
) -> Step:
    phase = replace(JUDGING, then=then)
    waiting = node(UP, pending(UP), phase=phase, called=True, fresh_after=105.0)
    return step(waiting, cloud(listed(*servers, at=at, whole=whole), health=health))


def test_a_failed_call_is_judged_only_by_a_later_listing() -> None:
    for at in (104.0, 105.0):
        assert judging(Health().call_failed("node1", 105.0), OFF, at=at) == FOR_A_LISTING


def test_a_failed_call_that_took_effect_all_the_same_completes() -> None:
    done = judging(Health().call_failed("node1", 105.0), SERVER)
    assert done == Finish(Transition.COMPLETED, None, SERVER)


@pytest.mark.parametrize("servers", [(OFF,), (BOOTING,), ()])
def test_a_failure_costs_an_attempt_only_where_the_cloud_has_acted_for_another_since(
    servers: tuple[Server, ...],
) -> None:
    """Otherwise the whole cloud may be sick: the node rests, and loses nothing."""
    failed = Health().call_failed("node1", 105.0)
    assert judging(failed, *servers) == ParkNode(FAULT, "power.retry.5s")
    assert judging(failed.call_answered("node2", 104.0), *servers) == ParkNode(
        FAULT, "power.retry.5s"
    )
    others = failed.call_answered("node2", 106.0)
    assert judging(others, *servers) == Retry(FAULT)
    refused = judging(others, *servers, then=Then.PARK)
    assert refused == ParkNode(FAULT, "power.retry.5s"), "a refused token is never its own fault"


@pytest.mark.parametrize("then", [Then.PROBE, Then.LOOK])
def test_an_attempt_fails_only_on_a_whole_listing_from_after_the_call(then: Then) -> None:
    """The last attempt ends the request; a listing of changes may have missed that it took effect."""
    others = Health().call_failed("node1", 105.0).call_answered("node2", 106.0)
    for whole in (50.0, 105.0):
        assert judging(others, OFF, whole=whole, then=then) == FOR_A_WHOLE_LISTING
    assert judging(others, OFF, whole=106.0, then=then) == Retry(FAULT)


def refused(*servers: Server, act: Act, at: float = 109.0, whole: float | None = None) -> Step:
    """The step of a node to be created or started, after the cloud has refused this call."""
    group = msgspec.structs.replace(GROUP, strategy="delete", server=TEMPLATE)
    phase = Judging(NO_ROOM, act, Then.REJECT)
    waiting = node(UP, pending(UP), group=group, phase=phase, called=True)
    waiting = replace(waiting, fresh_after=105.0, patient_since=105.0)
    tagged = [replace(server, cluster="test", node="node1") for server in servers]
    return step(waiting, cloud(listed(*tagged, at=at, whole=whole)))


def test_what_the_cloud_refuses_fails_only_on_a_whole_listing_from_after_the_answer() -> None:
    create = Act(CREATE, "")
    assert refused(act=create, at=104.0) == FOR_A_LISTING
    for whole in (50.0, 105.0):
        assert refused(act=create, whole=whole) == FOR_A_WHOLE_LISTING
    assert refused(act=create) == Finish(Transition.FAILED, NO_ROOM, None)
    assert refused(OFF, act=Act(START, "id-1")) == Finish(Transition.FAILED, NO_ROOM, None)


def test_a_refusal_is_over_where_an_earlier_call_has_taken_effect_after_all() -> None:
    """The first creation came late, and made the second exceed the quota: the boot goes well."""
    create = Act(CREATE, "")
    assert refused(SERVER, act=create) == Finish(
        Transition.COMPLETED, None, replace(SERVER, cluster="test", node="node1")
    )
    assert isinstance(refused(BOOTING, act=create), WaitFor)
    assert refused(OFF, act=create) == MakeCall(Act(START, "id-1"))


# -- boots that are due


DUE = node(UP, pending(UP), row=row(UP, boot_from=MOMENT))


def test_a_running_server_is_rebooted_where_slurm_waits_for_a_boot() -> None:
    assert step(DUE, cloud(listed(SERVER, at=105.0))) == MakeCall(Act(REBOOT, "id-1"))


def test_a_running_server_is_not_rebooted_from_an_old_listing() -> None:
    assert step(DUE, cloud(listed(SERVER, at=100.0))) == FOR_A_LISTING


def test_a_node_that_slurm_counts_as_running_is_not_rebooted() -> None:
    done = step(DUE, cloud(listed(SERVER, at=105.0)), registered=True)
    assert done == Finish(Transition.COMPLETED, None, SERVER)


def test_a_node_whose_boot_was_made_is_not_rebooted() -> None:
    booted = replace(DUE, row=row(UP, boot_from=MOMENT, booted=MOMENT))
    done = step(booted, cloud(listed(SERVER, at=105.0)))
    assert done == Finish(Transition.COMPLETED, None, SERVER)


# -- for any node and any listing


STATUSES = ("ACTIVE", "SHUTOFF", "ERROR", "SHELVED_OFFLOADED", "BUILD", "VERIFY_RESIZE", "ODD")
TASKS = (None, "powering-on", "deleting")
SERVERS = st.lists(
    st.builds(
        Server,
        st.sampled_from(["id-1", "id-2"]),
        st.just("node1"),
        st.sampled_from(STATUSES),
        st.sampled_from(TASKS),
        cluster=st.sampled_from([None, "test"]),
        node=st.sampled_from([None, "node1"]),
    ),
    max_size=2,
    unique_by=lambda server: server.id,
)
TIMES = st.integers(80, 130).map(float)
GROUPS = [
    msgspec.structs.replace(
        GROUP, strategy=str(strategy), server=server, deploy_wait=9.0, bake_timeout=10.0
    )
    for strategy in Strategy
    for server in (TEMPLATE, None)
    if server is not None or strategy is not Strategy.DELETE
]


ACTS = [
    *(Act(name, "id-1") for name in (START, STOP, DELETE, UNSHELVE, REBOOT)),
    Act(CREATE, ""),
    Act(DELETE, "id-2"),
]
THENS = [Then.PROBE, Then.PARK, Then.REJECT, Then.LOOK]
JUDGINGS = st.builds(Judging, st.just(FAULT), st.sampled_from(ACTS), st.sampled_from(THENS))
REFUSALS = st.sampled_from([None, NO_ROOM])


@st.composite
def nodes(draw: st.DrawFn) -> PendingNode:
    """Any node that waits for a listing."""
    asked = command(kind=draw(st.sampled_from(Kind)))
    made = draw(
        st.lists(
            st.builds(
                action,
                st.sampled_from([START, STOP, CREATE, DELETE, UNSHELVE, REBOOT]),
                result=st.sampled_from([DONE, "conflict"]),
            ),
            max_size=4,
        )
    )
    waiting = node(
        asked,
        pending(asked),
        row=row(
            asked,
            draw(st.sampled_from([None, "id-1"])),
            boot_from=draw(st.sampled_from([0, MOMENT])),
        ),
        group=draw(st.sampled_from(GROUPS)),
        phase=draw(st.sampled_from([LOOKING, QUEUED]) | JUDGINGS),
        called=draw(st.booleans()),
        fresh_after=draw(TIMES),
        patient_since=draw(TIMES),
        trouble=draw(st.sampled_from([None, FAULT])),
        image_id=draw(st.sampled_from([None, "image"])),
    )
    return replace(waiting, actions={waiting.key: tuple(made)})


@st.composite
def clouds(draw: st.DrawFn) -> CloudSituation:
    """Any cloud that answers."""
    at = draw(TIMES)
    view = listed(*draw(SERVERS), at=at, whole=min(at, draw(TIMES)))
    health = Health(
        failing=draw(st.dictionaries(st.sampled_from(["node1", "node2"]), TIMES)),
        acted_at=draw(TIMES),
        booted_at=draw(TIMES),
        stuck_at=draw(TIMES),
    )
    seen = cloud(view, *draw(st.sampled_from([[], peers(3, since=100.0)])), health=health)
    return replace(seen, oldest=draw(TIMES))


@given(nodes(), clouds(), st.booleans(), REFUSALS)
def test_nothing_fails_but_on_a_whole_listing_requested_after_the_last_change_and_the_patience(
    waiting: PendingNode,
    seen: CloudSituation,
    registered: bool,  # noqa: FBT001
    refusal: Cause | None,
) -> None:
    """Also no attempt, whose last ends the request; and nothing that the cloud or the group refuses."""
    taken = step(waiting, seen, registered=registered, refusal=refusal, now=130.0)
    cause = None
    if isinstance(taken, Finish) and taken.transition is Transition.FAILED:
        cause = taken.cause
        assert cause is not None
    if isinstance(taken, Retry):
        cause = taken.cause
        assert isinstance(waiting.phase, Judging)
    if isinstance(taken, ParkNode) and taken.cause.error == BOOTS_STUCK:
        cause = Cause("boot_timeout", "")
        assert waiting.row.desired is Desired.UP
    if cause is None:
        return
    whole = seen.servers.whole_as_of
    assert whole > waiting.fresh_after
    group = waiting.group
    patience = {
        "boot_timeout": group.boot_timeout,
        "stop_timeout": group.stop_timeout,
        "bake_timeout": group.bake_timeout,
    }.get(cause.error)
    if patience is not None:
        assert whole - waiting.patient_since > patience


@given(nodes(), clouds(), st.booleans())
def test_nothing_completes_but_on_a_fresh_listing_and_no_call_follows_one_from_before_an_answer(
    waiting: PendingNode,
    seen: CloudSituation,
    registered: bool,  # noqa: FBT001
) -> None:
    taken = step(waiting, seen, registered=registered, now=130.0)
    as_of = seen.servers.as_of
    if isinstance(taken, Finish | Retry):
        assert as_of > waiting.fresh_after
    if isinstance(taken, MakeCall):
        assert as_of > waiting.fresh_after or (as_of >= seen.oldest and not waiting.called)
        assert as_of > waiting.fresh_after or waiting.row.desired is Desired.UP
        if isinstance(waiting.phase, Judging):
            assert replace(taken.act, because=None) != waiting.phase.act
        else:
            assert waiting.phase == LOOKING


@given(nodes(), clouds(), st.booleans())
def test_a_node_that_waits_always_waits_for_something(
    waiting: PendingNode,
    seen: CloudSituation,
    registered: bool,  # noqa: FBT001
) -> None:
    """A queued one waits for its turn; all others for a listing or a later time."""
    taken = step(waiting, seen, registered=registered, now=130.0)
    if isinstance(taken, WaitFor) and not (waiting.phase == QUEUED and taken == FOR_ANYTHING):
        assert taken.listing or (taken.until is not None and taken.until > 130.0)
    later = listed(*seen.servers.servers, at=10_000.0)
    taken = step(waiting, replace(seen, servers=later), registered=registered, now=10_001.0)
    assert not isinstance(taken, WaitFor) or waiting.phase == QUEUED


# -- whole rounds


@dataclass
class Rounds:
    """One node, driven as the engine does it, on a clock of its own.

    Attributes:
        waiting: the node.
        servers: what the cloud lists.
        answer: the error of every call; None if the cloud accepts them.
        effects: what accepted calls lead to, by action; the others change nothing.
        registered: whether Slurm counts the node as running.
        attempts: that the request has left.
        now, as_of: the time, and when the last listing was requested.
        health: of the cloud.
        calls: the actions called.
        parked: how often the node was parked.
    """

    waiting: PendingNode
    servers: tuple[Server, ...]
    answer: Exception | None = None
    effects: dict[str, Server] = field(default_factory=dict)
    registered: bool = False
    attempts: int = 5
    now: float = ACCEPTED
    as_of: float = 0.0
    health: Health = field(default_factory=Health)
    calls: list[str] = field(default_factory=list)
    parked: int = 0

    def run(self, steps: int = 3000) -> Finish:
        """Go on until the request ends."""
        for _ in range(steps):
            ended = self.run_one()
            if ended is not None:
                return ended
        raise AssertionError(f"no end after {len(self.calls)} calls and {self.now:.0f} s")

    def run_one(self) -> Finish | None:
        """Take the next step."""
        seen = cloud(listed(*self.servers, at=self.as_of), self.waiting, health=self.health)
        seen = replace(seen, oldest=self.now - 2.0)
        return self._take(step(self.waiting, seen, registered=self.registered, now=self.now))

    def _take(self, taken: Step) -> Finish | None:
        match taken:
            case WaitFor(until=until, listing=needs_listing):
                assert needs_listing or until is not None
                self.now = max(self.now, until or 0.0) + 0.5
                self.as_of = self.now
            case MakeCall(act):
                self._call(act)
            case Finish():
                return taken
            case Retry():
                self.attempts -= 1
                if not self.attempts:
                    return Finish(Transition.FAILED, taken.cause, None)
                self._rest(30.0, afresh=False)
            case ParkNode(afresh=afresh):
                self.parked += 1
                self._rest(5.0, afresh=afresh)
        return None

    def _call(self, act: Act) -> None:
        self.calls.append(act.action)
        self.now += 0.1
        call = Calling(act, self.waiting.row, self.waiting.key, self.now)
        answer = self.answer if self.answer is not None else (act.server_id or "id-new")
        verdict = classify(answer) if isinstance(answer, Exception) else None
        settles = 20.0 if may_take_effect(answer, 1) else 0.0
        self.waiting = learn_answer(
            self.waiting, call, answer, verdict, now=self.now, time_ns=MOMENT, settles=settles
        )
        if self.answer is None and act.action in self.effects:
            self.servers = (self.effects[act.action],)

    def _rest(self, seconds: float, *, afresh: bool) -> None:
        waited = 0.0 if afresh else self.now - self.waiting.patient_since + seconds
        self.now += seconds
        [request] = self.waiting.requests
        fresh = replace(
            self.waiting, requests=(), actions={}, phase=LOOKING, called=False, conflicts=0
        )
        key, actions = self.waiting.key, self.waiting.actions
        self.waiting = joined(fresh, request, self.waiting.row, actions, {key: waited}, self.now)


def first(kind: Kind, group: GroupSettings, *, boot_from: int = 0) -> PendingNode:
    asked = command(kind=kind)
    return node(asked, pending(asked), group=group, row=row(asked, boot_from=boot_from))


@pytest.mark.parametrize("boot_from", [0, MOMENT])
@pytest.mark.parametrize(
    "group", GROUPS, ids=lambda group: f"{group.strategy}-{bool(group.server)}"
)
@pytest.mark.parametrize("kind", Kind)
def test_a_cloud_that_accepts_every_call_and_changes_nothing_gets_few_calls(
    kind: Kind, group: GroupSettings, boot_from: int
) -> None:
    """Every round ends after at most two calls of each kind and a few minutes."""
    for status in (*STATUSES, *sorted(PASSING), "none"):
        for task in (*TASKS, "image_uploading"):
            tagged = replace(SERVER, status=status, task=task, cluster="test", node="node1")
            servers = () if status == "none" else (tagged,)
            rounds = Rounds(first(kind, group, boot_from=boot_from), servers)
            rounds.run()
            for made in set(rounds.calls):
                assert rounds.calls.count(made) <= GROUP.boots, (status, task, rounds.calls)
            assert rounds.now - ACCEPTED < 120.0


@pytest.mark.parametrize(
    "group", GROUPS, ids=lambda group: f"{group.strategy}-{bool(group.server)}"
)
@pytest.mark.parametrize("kind", Kind)
def test_a_cloud_that_answers_every_call_with_a_conflict_costs_attempts_and_the_request_ends(
    kind: Kind, group: GroupSettings
) -> None:
    for status in STATUSES:
        tagged = replace(SERVER, status=status, cluster="test", node="node1")
        rounds = Rounds(first(kind, group), (tagged,), CloudError(409, "not now"))
        rounds.run()
        assert len(rounds.calls) <= 5 * 6


def test_a_boot_that_is_due_is_one_reboot() -> None:
    """Also where it shows nothing: the server was running, and runs again."""
    rounds = Rounds(first(Kind.RESUME, GROUP, boot_from=MOMENT), (SERVER,))
    assert rounds.run().transition is Transition.COMPLETED
    assert rounds.calls == [REBOOT]


def test_a_server_that_was_started_for_the_request_is_not_rebooted() -> None:
    rounds = Rounds(first(Kind.RESUME, GROUP, boot_from=MOMENT), (OFF,), effects={START: SERVER})
    assert rounds.run().transition is Transition.COMPLETED
    assert rounds.calls == [START]


def test_a_node_that_has_registered_is_neither_rebooted_nor_started() -> None:
    rounds = Rounds(first(Kind.RESUME, GROUP, boot_from=MOMENT), (SERVER,), registered=True)
    assert rounds.run().transition is Transition.COMPLETED
    assert rounds.calls == []


def test_a_stuck_deletion_is_repeated_after_the_stop_timeout_then_fails() -> None:
    group = msgspec.structs.replace(GROUP, strategy="delete", server=TEMPLATE)
    stuck_one = replace(SERVER, task="deleting", cluster="test", node="node1")
    rounds = Rounds(first(Kind.SUSPEND, group), (stuck_one,))
    ended = rounds.run()
    assert ended.cause is not None
    assert ended.cause.error == "stop_timeout"
    assert rounds.calls == [DELETE] * GROUP.boots
    assert rounds.now - ACCEPTED > GROUP.boots * GROUP.stop_timeout


def test_a_stuck_boot_fails_in_time_though_its_request_is_parked_again_and_again() -> None:
    """An outage of listings that parks the node does not start its patience again."""
    rounds = Rounds(first(Kind.RESUME, GROUP), (OFF,), effects={START: BOOTING})
    while not rounds.calls:
        rounds.run_one()
    rounds.health = Health().listing_failed(AWAY, rounds.now)
    for _ in range(3):
        rounds.run_one()
    assert rounds.parked == 3
    rounds.health = Health()
    parked_until = rounds.now
    ended = rounds.run()
    assert ended.cause is not None
    assert ended.cause.error == "boot_timeout"
    assert rounds.now - parked_until < 2.0
    assert rounds.calls == [START]


def test_a_call_that_took_effect_though_its_answer_was_lost_has_its_time() -> None:
    """Its request waited for an hour while its cloud was away: that is no part of the time of the boot."""
    group = msgspec.structs.replace(GROUP, boot_timeout=60.0)
    waiting = replace(first(Kind.RESUME, group), patient_since=ACCEPTED - 3600.0)
    rounds = Rounds(waiting, (OFF,), CloudError(504, "late"))
    while not rounds.calls:
        rounds.run_one()
    rounds.servers, rounds.answer = (BOOTING,), None
    while not rounds.parked or rounds.as_of <= rounds.waiting.fresh_after + 1.0:
        assert rounds.run_one() is None
    rounds.servers = (SERVER,)
    assert rounds.run().transition is Transition.COMPLETED
    assert rounds.calls == [START]


DEPLOY = command(kind=Kind.DEPLOY)
NEW = replace(SERVER, cluster="test", node="node1")


@pytest.mark.parametrize(
    ("booted", "made"),
    [
        pytest.param(DEPLOY.generation, [action(CREATE, result="server_side")], id="answer lost"),
        pytest.param(DEPLOY.generation, [], id="in an earlier round, or by a killed worker"),
    ],
)
def test_a_server_that_may_have_been_created_to_be_deployed_has_its_time_too(
    booted: int, made: list[CloudAction]
) -> None:
    """cloud-init would be cut off, and goes on at no later boot."""
    group = msgspec.structs.replace(GROUP, server=TEMPLATE, deploy_wait=30.0)
    waiting = node(DEPLOY, pending(DEPLOY), group=group, row=row(DEPLOY, booted=booted))
    waiting = replace(waiting, actions={waiting.key: tuple(made)})
    early, late = ACCEPTED + 29.0, ACCEPTED + 31.0
    assert step(waiting, cloud(listed(NEW, at=early)), now=early) == WaitFor(ACCEPTED + 30.0)
    assert step(waiting, cloud(listed(NEW, at=late)), now=late) == MakeCall(Act(STOP, "id-1"))
    before = replace(waiting, row=row(DEPLOY, booted=DEPLOY.generation - 1), actions={})
    assert step(before, cloud(listed(NEW, at=early)), now=early) == MakeCall(Act(STOP, "id-1"))
