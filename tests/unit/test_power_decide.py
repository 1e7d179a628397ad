"""The decision table: every row of it, and what no row may ever do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from schemas.commands import Desired
from schemas.events import Cause
from schemas.server import Server
from tests.testbed.pending_nodes import TEMPLATE
from workers.clouds import actions
from workers.clouds.actions import (
    BAKE,
    CREATE,
    DELETE,
    FIND_IMAGE,
    REBOOT,
    START,
    TAG,
    UNSHELVE,
    Strategy,
)
from workers.clouds.decide import Act, Decision, Fail, NodeView, Settled, Wait, decide
from workers.clouds.servers import DELETED
from workers.config.groups import GroupSettings

LIMITS = GroupSettings(
    nodes="node1",
    cloud="main",
    server=TEMPLATE,
    boot_timeout=600,
    stop_timeout=300,
    boots=3,
    deploy_wait=60,
    bake_timeout=601,
)

# What is done about a server of ours at rest that a fresh listing shows, before any call of the round:
# by what is wanted and by the group's strategy. A lower-case word with an underline is the class of a
# failure; `here` means settled.
TABLE = """
status             up/stop           up/shelve         up/delete     down/stop         down/shelve       down/delete  ready/stop     ready/shelve   gone/stop  adopted/stop      baked/stop        baked/shelve
ACTIVE             here              here              here          os-stop           shelve            delete       os-stop        shelve         delete     here              os-stop           os-stop
SHUTOFF            os-start          os-start          os-start      here              shelve            delete       here           shelve         delete     here              createImage       createImage
SHELVED            unshelve          unshelve          unshelve      here              here              delete       here           here           delete     here              unshelve          unshelve
SHELVED_OFFLOADED  unshelve          unshelve          unshelve      here              here              delete       here           here           delete     here              unshelve          unshelve
PAUSED             unpause           unpause           unpause       unpause           shelve            delete       unpause        shelve         delete     here              unpause           unpause
SUSPENDED          resume            resume            resume        resume            shelve            delete       resume         shelve         delete     here              resume            resume
RESCUE             unrescue          unrescue          unrescue      unrescue          unrescue          delete       unrescue       unrescue       delete     here              unrescue          unrescue
VERIFY_RESIZE      here              here              here          confirmResize     confirmResize     delete       confirmResize  confirmResize  delete     here              confirmResize     confirmResize
ERROR              reboot            reboot            delete        os-stop           os-stop           delete       delete         delete         delete     here              server_state      server_state
UNKNOWN            server_unseen     server_unseen     server_unseen  server_unseen    server_unseen     delete       server_unseen  server_unseen  delete     here              server_unseen     server_unseen
none               server_missing    server_missing    create        here              here              here         create         create         here       server_missing    server_missing    server_missing
two                ambiguous_server  ambiguous_server  ambiguous_server  ambiguous_server  ambiguous_server  delete       delete         delete         delete     ambiguous_server  ambiguous_server  ambiguous_server
"""
_HEAD, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [
    pytest.param(*column.split("/"), row[0], word, id=f"{column}-{row[0]}")
    for row in _ROWS
    for column, word in zip(_HEAD[1:], row[1:], strict=True)
]
STATUSES = [row[0] for row in _ROWS if row[0] not in {"none", "two"}]
# What an old listing may lead to: Nova refuses these where the listing is wrong, and a server that is
# started in vain harms nobody.
POWER_ON = {START, UNSHELVE, actions.UNPAUSE, actions.WAKE, actions.UNRESCUE}
# Longer than any patience below.
FOREVER = 10_000.0


def servers(status: str, task: str | None = None) -> tuple[Server, ...]:
    one = Server("id-1", "node1", status, task, fault="it broke" if status == "ERROR" else None)
    two = replace(one, status="ACTIVE"), replace(one, id="id-2", status="ACTIVE")
    return {"none": (), "two": two}.get(status, (one,))


def view(shown: tuple[Server, ...], **changes: object) -> NodeView:
    seen = NodeView(
        servers=shown,
        fresh=True,
        calls={},
        waited=1.0,
        ours=frozenset({"id-1", "id-2"}),
    )
    return replace(seen, **changes)  # type: ignore[arg-type]


def said(decision: Decision) -> str:
    match decision:
        case Act(action=action):
            return action
        case Fail(cause=cause):
            return cause.error
        case Settled():
            return "here"
        case Wait():
            return "wait"
    raise AssertionError(decision)


def limits(strategy: str) -> GroupSettings:
    return structs.replace(LIMITS, strategy=strategy)


@pytest.mark.parametrize(("want", "strategy", "status", "word"), CASES)
def test_a_server_in_each_state_gets_the_call_that_leads_to_what_is_desired(
    want: str, strategy: str, status: str, word: str
) -> None:
    assert said(decide(Desired(want), view(servers(status)), limits(strategy))) == word


@pytest.mark.parametrize(
    ("want", "strategy", "status", "word"),
    [case for case in CASES if not (case.values[0] == "up" and case.values[2] == "ERROR")],
)
def test_an_old_listing_only_powers_servers_on_and_after_a_call_leads_to_nothing(
    want: str, strategy: str, status: str, word: str
) -> None:
    old = view(servers(status), fresh=False)
    expected = word if want == "up" and word in POWER_ON else "wait"
    assert said(decide(Desired(want), old, limits(strategy))) == expected
    called = replace(old, calls={START: 1})
    assert said(decide(Desired(want), called, limits(strategy))) == "wait"


@pytest.mark.parametrize(
    ("want", "strategy", "status", "action", "failure"),
    [
        ("up", "stop", "SHUTOFF", START, "power_on_failed"),
        ("down", "stop", "ACTIVE", actions.STOP, "power_off_failed"),
        ("up", "shelve", "SHELVED_OFFLOADED", UNSHELVE, "unshelve_failed"),
        ("down", "shelve", "ACTIVE", actions.SHELVE, "call_failed"),
        ("up", "stop", "PAUSED", actions.UNPAUSE, "call_failed"),
        ("up", "delete", "none", CREATE, "create_failed"),
        ("down", "delete", "ACTIVE", DELETE, "delete_failed"),
    ],
)
def test_a_call_without_effect_is_repeated_up_to_the_groups_limit(
    want: str, strategy: str, status: str, action: str, failure: str
) -> None:
    for calls in (1, 2):
        again = view(servers(status), calls={action: calls}, deleted={"id-1": calls})
        assert said(decide(Desired(want), again, limits(strategy))) == action
    spent = view(servers(status), calls={action: 4}, deleted={"id-1": 4})
    assert said(decide(Desired(want), spent, limits(strategy))) == failure


# Nova's API guide, "Server concepts".
OF_NOVA = """
ACTIVE BUILD DELETED ERROR HARD_REBOOT MIGRATING PASSWORD PAUSED REBOOT REBUILD RESCUE RESIZE REVERT_RESIZE
SHELVED SHELVED_OFFLOADED SHUTOFF SOFT_DELETED SUSPENDED UNKNOWN VERIFY_RESIZE
"""


def test_each_status_of_nova_is_known() -> None:
    """A server whose resize was being reverted was not deleted, and failed its node where no task is shown."""
    assert {*STATUSES, *actions.PASSING, *DELETED} == set(OF_NOVA.split())


@pytest.mark.parametrize("status", [*STATUSES, *sorted(actions.PASSING)])
@pytest.mark.parametrize(
    ("want", "strategy", "patience", "word"),
    [("up", "stop", 600, "boot"), ("down", "stop", 300, "stop"), ("down", "shelve", 300, "stop")],
)
def test_a_server_in_transition_has_the_time_that_its_group_allows(
    status: str, want: str, strategy: str, patience: int, word: str
) -> None:
    just = view(servers(status, "some-task"), waited=float(patience))
    assert decide(Desired(want), just, limits(strategy)) == Wait(patience)
    over = decide(Desired(want), replace(just, waited=patience + 0.001), limits(strategy))
    assert isinstance(over, Fail)
    assert over.cause.error == f"{word}_timeout"
    assert over.cause.message == f"the server is {status} (some-task) after {patience} s"


def test_a_server_in_error_is_rebooted_once_then_the_clouds_own_words_are_the_cause() -> None:
    found = view(servers("ERROR"))
    assert decide(Desired.UP, found, LIMITS) == Act(REBOOT, "id-1")
    tried = decide(Desired.UP, replace(found, recovered=True), LIMITS)
    assert tried == Fail(Cause("server_error", "it broke"))


@pytest.mark.parametrize("action", [START, UNSHELVE])
def test_a_boot_that_ends_in_error_fails_at_once(action: str) -> None:
    booted = view(servers("ERROR"), calls={action: 1})
    assert said(decide(Desired.UP, booted, LIMITS)) == "server_error"


def test_a_server_created_in_error_is_deleted_and_created_again_unless_there_is_no_room() -> None:
    """No server is leaked, and the cloud's own words are reported."""
    broken = replace(servers("ERROR")[0], fault="No valid host was found.")
    made = view((broken,), calls={CREATE: 1})
    cause = Cause("no_valid_host", "No valid host was found.")
    assert decide(Desired.UP, made, limits("delete")) == Act(DELETE, "id-1", cause)
    gone = view((), calls={CREATE: 1, DELETE: 1}, trouble=cause)
    assert decide(Desired.UP, gone, limits("delete")) == Fail(cause)
    other = Cause("server_error", "it broke")
    assert said(decide(Desired.UP, replace(gone, trouble=other), limits("delete"))) == CREATE
    spent = replace(gone, trouble=other, calls={CREATE: 3, DELETE: 3})
    assert decide(Desired.UP, spent, limits("delete")) == Fail(other)


def test_a_deletion_is_waited_for_and_repeated_when_it_is_stuck_up_to_a_limit() -> None:
    going = view(servers("ACTIVE", "deleting"), deleted={"id-1": 1}, waited=300.0)
    assert decide(Desired.DOWN, going, limits("delete")) == Wait(300)
    stuck = replace(going, waited=300.1)
    assert decide(Desired.DOWN, stuck, limits("delete")) == Act(DELETE, "id-1")
    assert decide(Desired.DOWN, replace(stuck, fresh=False), limits("delete")) == Wait()
    given_up = decide(Desired.DOWN, replace(stuck, deleted={"id-1": 3}), limits("delete"))
    assert isinstance(given_up, Fail)
    assert given_up.cause.error == "stop_timeout"
    assert "ACTIVE (deleting)" in given_up.cause.message


def test_a_server_that_a_round_deletes_to_replace_it_is_deleted_again_when_it_is_stuck() -> None:
    broken = view(
        servers("ERROR", "deleting"), calls={CREATE: 1}, deleted={"id-1": 1}, waited=300.1
    )
    cause = Cause("server_error", "it broke")
    assert decide(Desired.UP, broken, limits("delete")) == Act(DELETE, "id-1", cause)
    assert decide(Desired.UP, replace(broken, waited=299.0), limits("delete")) == Wait(300)


def test_a_surplus_server_that_is_being_deleted_is_waited_for_then_deleted_again_up_to_a_limit() -> (
    None
):
    first, second = servers("two")
    both = view((first, replace(second, task="deleting")), deleted={second.id: 1}, waited=300.0)
    assert decide(Desired.UP, both, limits("delete")) == Wait(300)
    late = replace(both, waited=301.0)
    assert decide(Desired.UP, late, limits("delete")) == Act(DELETE, second.id)
    given_up = replace(late, deleted={second.id: 3})
    assert said(decide(Desired.UP, given_up, limits("delete"))) == "ambiguous_server"


@pytest.mark.parametrize("desired", [Desired.DOWN, Desired.GONE])
def test_a_node_with_many_servers_loses_all_of_them_in_one_round(desired: Desired) -> None:
    """Creations whose answers were lost can leave any number; each is deleted as often as it needs."""
    left = [replace(servers("ACTIVE")[0], id=f"id-{number}") for number in range(9)]
    deleted: Counter[str] = Counter()
    while left:
        ours = frozenset(server.id for server in left)
        seen = view(tuple(left), ours=ours, deleted=dict(deleted), calls={DELETE: deleted.total()})
        act = decide(desired, seen, limits("delete"))
        assert isinstance(act, Act)
        assert act.action == DELETE
        deleted[act.server_id] += 1
        left = [server for server in left if server.id != act.server_id]
    assert isinstance(decide(desired, view(()), limits("delete")), Settled)


@pytest.mark.parametrize("status", [s for s in STATUSES if s != "ERROR"])
def test_a_running_server_is_rebooted_where_slurm_waits_for_a_boot(status: str) -> None:
    """Other statuses lead to a boot anyway, except a resized server, which cannot reboot."""
    for strategy in Strategy:
        seen = view(servers(status), boot_due=True)
        plain = decide(Desired.UP, replace(seen, boot_due=False), limits(strategy))
        due = decide(Desired.UP, seen, limits(strategy))
        assert due == (Act(REBOOT, "id-1") if status == "ACTIVE" else plain)
        old = decide(Desired.UP, replace(seen, fresh=False), limits(strategy))
        assert said(old) != REBOOT
        if status == "ACTIVE":
            assert decide(Desired.DOWN, seen, limits(strategy)) != due


@pytest.mark.parametrize("want", [Desired.DOWN, Desired.GONE])
def test_a_server_without_our_tags_is_never_deleted(want: Desired) -> None:
    foreign = view(servers("ACTIVE"), ours=frozenset())
    assert said(decide(want, foreign, limits("delete"))) == "not_ours"


def test_of_two_servers_of_ours_the_running_one_is_kept() -> None:
    first, second = servers("two")
    both = view((replace(first, status="BUILD"), second))
    assert decide(Desired.UP, both, limits("delete")) == Act(DELETE, "id-1")


def test_a_deployed_server_runs_for_its_deploy_wait_before_it_is_powered_off() -> None:
    young = view(servers("ACTIVE"), deployed=True, waited=59.0)
    assert decide(Desired.READY, young, LIMITS) == Wait(60)
    ready = replace(young, waited=60.0)
    assert said(decide(Desired.READY, ready, LIMITS)) == "os-stop"


def test_a_group_without_a_template_says_so() -> None:
    lacking = structs.replace(limits("stop"), server=None)
    assert said(decide(Desired.READY, view(()), lacking)) == "no_template"


def test_adopting_tags_a_server_and_changes_nothing_else() -> None:
    found = view(servers("ACTIVE"), ours=frozenset())
    assert decide(Desired.ADOPTED, found, LIMITS) == Act(TAG, "id-1")


def test_an_image_is_made_once_then_searched_for_until_it_is_ready() -> None:
    rest = view(servers("SHUTOFF"))
    assert decide(Desired.BAKED, rest, LIMITS) == Act(BAKE, "id-1")
    called = replace(rest, calls={BAKE: 1})
    assert decide(Desired.BAKED, replace(called, fresh=False), LIMITS) == Wait()
    saving = replace(called, servers=servers("SHUTOFF", "image_uploading"))
    assert decide(Desired.BAKED, saving, LIMITS) == Wait(601)
    late = replace(saving, waited=602.0)
    assert said(decide(Desired.BAKED, late, LIMITS)) == "bake_timeout"
    assert decide(Desired.BAKED, called, LIMITS) == Act(FIND_IMAGE, "id-1")
    ready = replace(called, image_id="image")
    assert said(decide(Desired.BAKED, ready, LIMITS)) == "here"


@pytest.mark.parametrize(
    ("strategy", "status", "word"),
    [
        ("stop", "ACTIVE", "os-stop"),
        ("stop", "SHUTOFF", "here"),
        ("shelve", "SHUTOFF", "shelve"),
        ("shelve", "SHELVED_OFFLOADED", "here"),
        ("delete", "SHUTOFF", "here"),
        ("delete", "ACTIVE", "os-stop"),
    ],
)
def test_a_node_whose_image_is_ready_is_powered_off_by_its_groups_strategy_but_never_deleted(
    strategy: str, status: str, word: str
) -> None:
    ready = view(servers(status), image_id="image")
    assert said(decide(Desired.BAKED, ready, limits(strategy))) == word


def test_several_servers_are_named_in_the_cause() -> None:
    decision = decide(Desired.DOWN, view(servers("two")), LIMITS)
    assert isinstance(decision, Fail)
    assert "id-1, id-2" in decision.cause.message


ANY_STATUS = st.one_of(st.sampled_from([*STATUSES, *actions.PASSING]), st.text(max_size=8))
TASKS = st.one_of(st.none(), st.sampled_from(["powering-on", "deleting"]), st.text(max_size=4))
SERVERS = st.lists(
    st.builds(Server, st.sampled_from(["a", "b"]), st.just("node1"), ANY_STATUS, TASKS), max_size=2
).map(tuple)
ACTIONS = st.sampled_from([START, actions.STOP, CREATE, DELETE, UNSHELVE, actions.SHELVE, BAKE])
VIEWS = st.builds(
    NodeView,
    servers=SERVERS,
    fresh=st.booleans(),
    calls=st.dictionaries(ACTIONS, st.integers(1, 5), max_size=3),
    deleted=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 5)),
    waited=st.floats(0.0, 1000.0),
    ours=st.frozensets(st.sampled_from(["a", "b"])),
    own_id=st.none() | st.sampled_from(["a", "b", "c"]),
    trouble=st.one_of(st.none(), st.just(Cause("server_error", "it broke"))),
    image_id=st.none() | st.just("image"),
    recovered=st.booleans(),
    boot_due=st.booleans(),
)
DESIRES = st.sampled_from(Desired)
LIMITED = st.sampled_from([limits(strategy) for strategy in Strategy])


@given(DESIRES, VIEWS, LIMITED)
def test_only_a_fresh_listing_ends_a_round(
    want: Desired, seen: NodeView, group: GroupSettings
) -> None:
    if isinstance(decide(want, seen, group), Settled | Fail):
        assert seen.fresh


@given(DESIRES, VIEWS, VIEWS, LIMITED)
def test_a_settled_node_is_never_acted_on(
    want: Desired, seen: NodeView, other: NodeView, group: GroupSettings
) -> None:
    if isinstance(decide(want, seen, group), Settled):
        alike = replace(
            other,
            servers=seen.servers,
            ours=seen.ours,
            image_id=seen.image_id,
            boot_due=seen.boot_due,
        )
        acted = decide(want, alike, group)
        assert not isinstance(acted, Act) or acted.action == CREATE


@given(VIEWS, LIMITED)
def test_only_servers_of_ours_are_deleted_and_for_a_resume_only_broken_or_surplus_ones(
    seen: NodeView, group: GroupSettings
) -> None:
    for want in Desired:
        decision = decide(want, seen, group)
        if isinstance(decision, Act) and decision.action == DELETE:
            [server] = [server for server in seen.servers if server.id == decision.server_id][:1]
            assert server.id in seen.ours
            assert seen.fresh
            if want is Desired.UP:
                broken = server.status == "ERROR" or server.task == "deleting"
                assert broken or len(seen.servers) > 1


MAY_HAVE_A_JOB = {*STATUSES, *actions.PASSING, "odd"} - actions.NO_JOB


@pytest.mark.parametrize("own", ["id-1", "id-2", "id-3", None])
@pytest.mark.parametrize("status", sorted(MAY_HAVE_A_JOB))
def test_a_node_that_stays_up_loses_no_server_that_a_job_can_be_on(
    own: str | None, status: str
) -> None:
    """Not the node's own, nor another: a late creation registers under the node's name too."""
    first, second = servers("two")
    both = first, replace(second, status=status)
    for want in (Desired.UP, Desired.ADOPTED):
        for shown in (both, both[::-1]):
            for waited in (1.0, FOREVER):
                seen = view(shown, own_id=own, waited=waited)
                assert said(decide(want, seen, limits("delete"))) == "ambiguous_server"


@pytest.mark.parametrize("status", sorted(actions.NO_JOB))
def test_a_surplus_server_without_a_job_is_deleted_for_a_resume(status: str) -> None:
    first, second = servers("two")
    for idle, other in ((first, second), (second, first)):
        shown = replace(idle, status=status), other
        for own in (first.id, second.id, None):
            act = decide(Desired.UP, view(shown, own_id=own), limits("delete"))
            assert act == Act(DELETE, idle.id)


def test_of_two_servers_that_boot_the_nodes_own_is_kept() -> None:
    shown = tuple(replace(one, status="BUILD") for one in servers("two"))
    for own, other in (("id-1", "id-2"), ("id-2", "id-1")):
        assert decide(Desired.UP, view(shown, own_id=own), limits("delete")) == Act(DELETE, other)


def test_a_server_that_is_being_deleted_is_never_the_one_to_keep() -> None:
    first, second = servers("two")
    seen = view((replace(first, task="deleting"), second), own_id=first.id, waited=FOREVER)
    assert decide(Desired.UP, seen, limits("delete")) == Act(DELETE, first.id)


@given(VIEWS, LIMITED)
def test_no_action_serves_both_power_on_and_power_off(seen: NodeView, group: GroupSettings) -> None:
    up, down = (decide(want, seen, group) for want in (Desired.UP, Desired.DOWN))
    if isinstance(up, Act) and isinstance(down, Act):
        assert up.action != down.action or up.action in {
            DELETE,
            actions.UNPAUSE,
            actions.WAKE,
            actions.UNRESCUE,
        }


@given(DESIRES, VIEWS, LIMITED)
def test_with_a_fresh_listing_after_all_patience_there_is_always_a_next_step(
    want: Desired, seen: NodeView, group: GroupSettings
) -> None:
    late = replace(seen, fresh=True, waited=602.0)
    assert not isinstance(decide(want, late, group), Wait)


# -- bounds


def answered(seen: NodeView, act: Act) -> NodeView:
    """The listing after a call that the cloud has accepted, and that has changed nothing."""
    if act.action == FIND_IMAGE:
        return replace(seen, image_id="image")
    calls = {**seen.calls, act.action: seen.calls.get(act.action, 0) + 1}
    deleted = Counter(seen.deleted)
    deleted.update([act.server_id] if act.action == DELETE else [])
    return replace(
        seen,
        calls=calls,
        deleted=dict(deleted),
        trouble=act.because or seen.trouble,
        recovered=seen.recovered or act.action == REBOOT,
        waited=FOREVER,
    )


def drive(want: Desired, seen: NodeView, group: GroupSettings) -> tuple[list[str], Decision]:
    """Make calls until there is nothing more to do; no patience is left at any listing."""
    made: list[str] = []
    while isinstance(decision := decide(want, seen, group), Act):
        made.append(decision.action)
        assert len(made) <= 100, f"calls without end: {made}"
        seen = answered(seen, decision)
    return made, decision


TASKS_AT_REST = (None, "powering-on", "powering-off", "deleting", "image_uploading")


@pytest.mark.parametrize("boot_due", [False, True])
@pytest.mark.parametrize("task", TASKS_AT_REST)
@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("want", Desired)
def test_a_cloud_that_accepts_every_call_and_changes_nothing_gets_few_calls(
    want: Desired,
    strategy: Strategy,
    task: str | None,
    boot_due: bool,  # noqa: FBT001
) -> None:
    """Each kind of call has a limit per round, and then the round ends."""
    for status in (*STATUSES, *sorted(actions.PASSING), "none", "two", "SOMETHING_NEW"):
        shown = tuple(replace(server, task=task) for server in servers(status))
        for ours in (frozenset({"id-1", "id-2"}), frozenset()):
            seen = view(shown, ours=ours, boot_due=boot_due, waited=FOREVER)
            made, end = drive(want, seen, limits(strategy))
            assert isinstance(end, Settled | Fail), (status, ours, end)
            for action in set(made):
                most = LIMITS.boots * (len(shown) if action == DELETE else 1)
                assert made.count(action) <= most, (status, made)
            assert len(made) <= 2 * LIMITS.boots + 1, (status, made)


@given(DESIRES, VIEWS, LIMITED)
def test_from_any_listing_the_round_ends_after_few_calls(
    want: Desired, seen: NodeView, group: GroupSettings
) -> None:
    made, end = drive(want, replace(seen, fresh=True, waited=FOREVER), group)
    assert isinstance(end, Settled | Fail)
    assert len(made) <= 12


@given(st.data(), DESIRES, LIMITED)
def test_whatever_the_cloud_shows_after_each_call_every_kind_of_call_has_a_limit(
    data: st.DataObject, want: Desired, group: GroupSettings
) -> None:
    """Also a server that flaps between statuses, disappears, comes back or is created twice."""
    seen = view((), waited=FOREVER)
    made: list[str] = []
    for _ in range(60):
        shown = data.draw(SERVERS)
        seen = replace(seen, servers=shown, ours=frozenset(server.id for server in shown))
        decision = decide(want, seen, group)
        if not isinstance(decision, Act):
            continue
        made.append(decision.action)
        seen = answered(seen, decision)
    for action in set(made):
        most = group.boots * (len({"a", "b"}) if action == DELETE else 1)
        assert made.count(action) <= most


def test_only_the_reboot_of_a_running_server_is_made_for_slurm() -> None:
    """The guard asks Slurm before such a call; a server in ERROR is rebooted whatever Slurm shows."""
    due = decide(Desired.UP, view(servers("ACTIVE"), boot_due=True), limits("stop"))
    broken = decide(Desired.UP, view(servers("ERROR"), boot_due=True), limits("stop"))
    assert isinstance(due, Act)
    assert isinstance(broken, Act)
    assert (due.action, due.for_slurm) == (REBOOT, True)
    assert (broken.action, broken.for_slurm) == (REBOOT, False)
