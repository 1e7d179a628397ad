"""What is done about a node: the whole decision table, and what no row of it may ever do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import Desired
from schemas.events import Cause
from schemas.server import Server
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
from workers.power.decide import Act, Decision, Fail, Limits, NodeView, Settled, Wait, decide

NOW = 1_767_323_045_678_901_000
NS = 1_000_000_000
LIMITS = Limits(
    boot_timeout=600, stop_timeout=300, calls=3, creates=True, deploy_wait=60, bake_timeout=601
)

# What is done about a server of ours at rest, seen after all that was done before, with no calls made
# yet: by what is wanted and by the group's strategy. A word in small letters with an underline is the
# class of a failure; `here` is settled.
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
UNKNOWN            server_state      server_state      server_state  server_state      server_state      delete       server_state   server_state   delete     here              server_state      server_state
none               server_missing    server_missing    create        here              here              here         create         create         here       server_missing    server_missing    server_missing
two                ambiguous_server  ambiguous_server  delete        ambiguous_server  ambiguous_server  delete       delete         delete         delete     ambiguous_server  ambiguous_server  ambiguous_server
"""
_HEAD, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [
    pytest.param(*column.split("/"), row[0], word, id=f"{column}-{row[0]}")
    for row in _ROWS
    for column, word in zip(_HEAD[1:], row[1:], strict=True)
]
STATUSES = [row[0] for row in _ROWS if row[0] not in {"none", "two"}]
# What cannot be taken back, or burns twice when made twice, needs a sight that settles.
GRAVE = {CREATE, DELETE, TAG, BAKE}


def servers(status: str, task: str | None = None) -> tuple[Server, ...]:
    one = Server("id-1", "node1", status, task, fault="it broke" if status == "ERROR" else None)
    two = replace(one, status="ACTIVE"), replace(one, id="id-2", status="ACTIVE")
    return {"none": (), "two": two}.get(status, (one,))


def sight(shown: tuple[Server, ...], **changes: object) -> NodeView:
    seen = NodeView(
        servers=shown,
        settles=True,
        calls={},
        waited_since=NOW - NS,
        now=NOW,
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


def limits(strategy: str) -> Limits:
    return replace(LIMITS, strategy=Strategy(strategy))


@pytest.mark.parametrize(("want", "strategy", "status", "word"), CASES)
def test_the_table(want: str, strategy: str, status: str, word: str) -> None:
    assert said(decide(Desired(want), sight(servers(status)), limits(strategy))) == word


@pytest.mark.parametrize(("want", "strategy", "status", "word"), CASES)
def test_an_old_sight_starts_only_what_nova_refuses_where_it_is_wrong(
    want: str, strategy: str, status: str, word: str
) -> None:
    old = sight(servers(status), settles=False)
    reversible = word in vars(actions).values() and word not in GRAVE and word != "here"
    expected = word if reversible else "wait"
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
def test_a_call_that_did_not_help_is_made_again_so_often_then_it_has_failed(
    want: str, strategy: str, status: str, action: str, failure: str
) -> None:
    for calls in (1, 2):
        again = sight(servers(status), calls={action: calls})
        assert said(decide(Desired(want), again, limits(strategy))) == action
    spent = sight(servers(status), calls={action: 4})
    assert said(decide(Desired(want), spent, limits(strategy))) == failure


@pytest.mark.parametrize("status", [*STATUSES, *sorted(actions.PASSING)])
@pytest.mark.parametrize(
    ("want", "strategy", "patience", "word"),
    [("up", "stop", 600, "boot"), ("down", "stop", 300, "stop"), ("down", "shelve", 300, "stop")],
)
def test_a_server_under_way_is_waited_for_with_the_group_s_own_patience(
    status: str, want: str, strategy: str, patience: int, word: str
) -> None:
    just = sight(servers(status, "some-task"), waited_since=NOW - patience * NS)
    assert decide(Desired(want), just, limits(strategy)) == Wait()
    over = decide(Desired(want), replace(just, now=NOW + 1), limits(strategy))
    assert isinstance(over, Fail)
    assert over.cause.error == f"{word}_timeout"
    assert over.cause.message == f"the server is {status} (some-task) after {patience} s"


def test_a_server_found_in_error_is_rebooted_once_then_the_cloud_s_own_words_are_passed_on() -> (
    None
):
    found = sight(servers("ERROR"))
    assert decide(Desired.UP, found, LIMITS) == Act(REBOOT, "id-1")
    tried = decide(Desired.UP, replace(found, recovered=True), LIMITS)
    assert tried == Fail(Cause("server_error", "it broke"))


@pytest.mark.parametrize("action", [START, UNSHELVE])
def test_a_boot_that_ends_in_error_has_failed_at_once(action: str) -> None:
    booted = sight(servers("ERROR"), calls={action: 1})
    assert said(decide(Desired.UP, booted, LIMITS)) == "server_error"


def test_a_server_made_in_vain_is_deleted_then_made_again_unless_there_is_no_room() -> None:
    """None is leaked; and the cloud's own words are what is reported."""
    broken = replace(servers("ERROR")[0], fault="No valid host was found.")
    made = sight((broken,), calls={CREATE: 1})
    cause = Cause("no_valid_host", "No valid host was found.")
    assert decide(Desired.UP, made, limits("delete")) == Act(DELETE, "id-1", cause)
    gone = sight((), calls={CREATE: 1, DELETE: 1}, trouble=cause)
    assert decide(Desired.UP, gone, limits("delete")) == Fail(cause)
    other = Cause("server_error", "it broke")
    assert said(decide(Desired.UP, replace(gone, trouble=other), limits("delete"))) == CREATE
    spent = replace(gone, trouble=other, calls={CREATE: 3, DELETE: 3})
    assert decide(Desired.UP, spent, limits("delete")) == Fail(other)


def test_what_is_being_deleted_is_waited_for() -> None:
    going = sight(servers("ACTIVE", "deleting"), calls={DELETE: 1})
    assert decide(Desired.DOWN, going, limits("delete")) == Wait()


@pytest.mark.parametrize("want", [Desired.DOWN, Desired.GONE])
def test_a_server_without_our_tags_is_never_deleted(want: Desired) -> None:
    foreign = sight(servers("ACTIVE"), ours=frozenset())
    assert said(decide(want, foreign, limits("delete"))) == "not_ours"


def test_of_two_of_ours_the_one_that_runs_is_kept() -> None:
    first, second = servers("two")
    both = sight((replace(first, status="BUILD"), second))
    assert decide(Desired.UP, both, limits("delete")) == Act(DELETE, "id-1")


def test_a_deployed_server_gets_its_time_before_it_is_put_out() -> None:
    young = sight(servers("ACTIVE"), calls={CREATE: 1}, waited_since=NOW - 59 * NS)
    assert decide(Desired.READY, young, LIMITS) == Wait()
    ready = replace(young, waited_since=NOW - 61 * NS)
    assert said(decide(Desired.READY, ready, LIMITS)) == "os-stop"


def test_a_group_that_cannot_make_servers_says_what_it_lacks() -> None:
    lacking = replace(limits("stop"), creates=False)
    assert said(decide(Desired.READY, sight(()), lacking)) == "no_template"


def test_adopting_tags_a_server_and_changes_nothing_else() -> None:
    found = sight(servers("ACTIVE"), ours=frozenset())
    assert decide(Desired.ADOPTED, found, LIMITS) == Act(TAG, "id-1")


def test_an_image_is_made_once_then_looked_for_until_it_is_ready() -> None:
    rest = sight(servers("SHUTOFF"))
    assert decide(Desired.BAKED, rest, LIMITS) == Act(BAKE, "id-1")
    called = replace(rest, calls={BAKE: 1})
    assert decide(Desired.BAKED, replace(called, settles=False), LIMITS) == Wait()
    saving = replace(called, servers=servers("SHUTOFF", "image_uploading"))
    assert decide(Desired.BAKED, saving, LIMITS) == Wait()
    late = replace(saving, waited_since=NOW - 602 * NS)
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
def test_a_node_whose_image_is_ready_is_put_out_as_its_group_is_but_never_deleted(
    strategy: str, status: str, word: str
) -> None:
    ready = sight(servers(status), image_id="image")
    assert said(decide(Desired.BAKED, ready, limits(strategy))) == word


def test_several_servers_are_named_so_that_a_person_can_rename_one() -> None:
    decision = decide(Desired.DOWN, sight(servers("two")), LIMITS)
    assert isinstance(decision, Fail)
    assert "id-1, id-2" in decision.cause.message


ANY_STATUS = st.one_of(st.sampled_from([*STATUSES, *actions.PASSING]), st.text(max_size=8))
TASKS = st.one_of(st.none(), st.sampled_from(["powering-on", "deleting"]), st.text(max_size=4))
SERVERS = st.lists(
    st.builds(Server, st.sampled_from(["a", "b"]), st.just("node1"), ANY_STATUS, TASKS), max_size=2
).map(tuple)
ACTIONS = st.sampled_from([START, actions.STOP, CREATE, DELETE, UNSHELVE, actions.SHELVE, BAKE])
SIGHTS = st.builds(
    NodeView,
    servers=SERVERS,
    settles=st.booleans(),
    calls=st.dictionaries(ACTIONS, st.integers(1, 5), max_size=3),
    waited_since=st.integers(NOW - 1000 * NS, NOW),
    now=st.just(NOW),
    ours=st.frozensets(st.sampled_from(["a", "b"])),
    trouble=st.one_of(st.none(), st.just(Cause("server_error", "it broke"))),
    image_id=st.none() | st.just("image"),
    recovered=st.booleans(),
)
DESIRES = st.sampled_from(Desired)
LIMITED = st.sampled_from([limits(strategy) for strategy in Strategy])


@given(DESIRES, SIGHTS, LIMITED)
def test_only_a_sight_after_the_last_action_ends_the_matter(
    want: Desired, seen: NodeView, group: Limits
) -> None:
    if isinstance(decide(want, seen, group), Settled | Fail):
        assert seen.settles


@given(DESIRES, SIGHTS, SIGHTS, LIMITED)
def test_what_is_settled_is_never_acted_upon(
    want: Desired, seen: NodeView, other: NodeView, group: Limits
) -> None:
    if isinstance(decide(want, seen, group), Settled):
        alike = replace(other, servers=seen.servers, ours=seen.ours, image_id=seen.image_id)
        acted = decide(want, alike, group)
        # one that is still young is not yet put out; that is all that calls can change
        assert not isinstance(acted, Act) or acted.action == CREATE


@given(SIGHTS, LIMITED)
def test_nothing_is_deleted_but_ours_and_nothing_for_a_resume_but_what_is_broken_or_surplus(
    seen: NodeView, group: Limits
) -> None:
    for want in Desired:
        decision = decide(want, seen, group)
        if isinstance(decision, Act) and decision.action == DELETE:
            [server] = [server for server in seen.servers if server.id == decision.server_id][:1]
            assert server.id in seen.ours
            assert seen.settles
            if want is Desired.UP:
                assert server.status == "ERROR" or len(seen.servers) > 1


@given(SIGHTS, LIMITED)
def test_no_server_is_both_lit_and_put_out(seen: NodeView, group: Limits) -> None:
    up, down = (decide(want, seen, group) for want in (Desired.UP, Desired.DOWN))
    if isinstance(up, Act) and isinstance(down, Act):
        assert up.action != down.action or up.action in {
            DELETE,
            actions.UNPAUSE,
            actions.WAKE,
            actions.UNRESCUE,
        }


@given(DESIRES, SIGHTS, LIMITED)
def test_a_sure_sight_beyond_all_patience_always_leads_on(
    want: Desired, seen: NodeView, group: Limits
) -> None:
    late = replace(seen, settles=True, waited_since=NOW - 602 * NS)
    assert decide(want, late, group) != Wait()
