"""What is done about a node: the whole decision table, and what no row of it may ever do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import Desired
from workers.power.decide import (
    START,
    STOP,
    Act,
    Decision,
    Fail,
    Limits,
    Settled,
    Sight,
    Wait,
    decide,
)
from workers.power.servers import Server

NOW = 1_767_323_045_678_901_000
NS = 1_000_000_000
LIMITS = Limits(boot_timeout=600, stop_timeout=300, calls=3)

# What is decided, by what the server shows and by what the sight is worth.
#
# old    seen before the last action's reply: it can start an action, never end the matter
# new    seen after it
# 0 1 3  calls of the wanted kind made in this round, of three
# late   one call made, and the group's patience is over
#
# A word alone is the class of a failure.
TABLE = """
want  status             task           old0   new0              old1  new1              new3              late
up    SHUTOFF            -              START  START             wait  START             power_on_failed   START
up    SHUTOFF            powering-on    wait   wait              wait  wait              wait              boot_timeout
up    SHUTOFF            spawning       wait   wait              wait  wait              wait              boot_timeout
up    ACTIVE             -              wait   settled           wait  settled           settled           settled
up    ACTIVE             powering-off   wait   wait              wait  wait              wait              boot_timeout
up    ERROR              -              wait   server_error      wait  server_error      server_error      server_error
up    ERROR              powering-off   wait   wait              wait  wait              wait              boot_timeout
up    BUILD              -              wait   wait              wait  wait              wait              boot_timeout
up    BUILD              spawning       wait   wait              wait  wait              wait              boot_timeout
up    REBOOT             rebooting      wait   wait              wait  wait              wait              boot_timeout
up    HARD_REBOOT        rebooting_hard wait   wait              wait  wait              wait              boot_timeout
up    MIGRATING          migrating      wait   wait              wait  wait              wait              boot_timeout
up    PASSWORD           -              wait   wait              wait  wait              wait              boot_timeout
up    REBUILD            rebuilding     wait   wait              wait  wait              wait              boot_timeout
up    PAUSED             -              wait   server_state      wait  server_state      server_state      server_state
up    SUSPENDED          -              wait   server_state      wait  server_state      server_state      server_state
up    SHELVED            -              wait   server_state      wait  server_state      server_state      server_state
up    SHELVED_OFFLOADED  -              wait   server_state      wait  server_state      server_state      server_state
up    SHELVED_OFFLOADED  unshelving     wait   wait              wait  wait              wait              boot_timeout
up    RESCUE             -              wait   server_state      wait  server_state      server_state      server_state
up    VERIFY_RESIZE      -              wait   server_state      wait  server_state      server_state      server_state
up    UNKNOWN            -              wait   server_state      wait  server_state      server_state      server_state
up    none               -              wait   server_missing    wait  server_missing    server_missing    server_missing
up    two                -              wait   ambiguous_server  wait  ambiguous_server  ambiguous_server  ambiguous_server
down  SHUTOFF            -              wait   settled           wait  settled           settled           settled
down  SHUTOFF            powering-on    wait   wait              wait  wait              wait              stop_timeout
down  ACTIVE             -              STOP   STOP              wait  STOP              power_off_failed  STOP
down  ACTIVE             powering-off   wait   wait              wait  wait              wait              stop_timeout
down  ERROR              -              STOP   STOP              wait  STOP              power_off_failed  STOP
down  ERROR              powering-off   wait   wait              wait  wait              wait              stop_timeout
down  BUILD              -              wait   wait              wait  wait              wait              stop_timeout
down  BUILD              spawning       wait   wait              wait  wait              wait              stop_timeout
down  REBOOT             rebooting      wait   wait              wait  wait              wait              stop_timeout
down  HARD_REBOOT        rebooting_hard wait   wait              wait  wait              wait              stop_timeout
down  MIGRATING          migrating      wait   wait              wait  wait              wait              stop_timeout
down  PASSWORD           -              wait   wait              wait  wait              wait              stop_timeout
down  REBUILD            rebuilding     wait   wait              wait  wait              wait              stop_timeout
down  PAUSED             -              wait   server_state      wait  server_state      server_state      server_state
down  SUSPENDED          -              wait   server_state      wait  server_state      server_state      server_state
down  SHELVED            -              wait   settled           wait  settled           settled           settled
down  SHELVED_OFFLOADED  -              wait   settled           wait  settled           settled           settled
down  RESCUE             -              wait   server_state      wait  server_state      server_state      server_state
down  VERIFY_RESIZE      -              wait   server_state      wait  server_state      server_state      server_state
down  UNKNOWN            -              wait   server_state      wait  server_state      server_state      server_state
down  none               -              wait   settled           wait  settled           settled           settled
down  two                -              wait   ambiguous_server  wait  ambiguous_server  ambiguous_server  ambiguous_server
"""
_HEAD, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [
    pytest.param(*row[:3], column, word, id="-".join((*row[:3], column)))
    for row in _ROWS
    for column, word in zip(_HEAD[3:], row[3:], strict=True)
]


def servers(status: str, task: str | None) -> tuple[Server, ...]:
    one = Server("id-1", "node1", status, task, fault="no host" if status == "ERROR" else None)
    return {"none": (), "two": (one, replace(one, id="id-2"))}.get(status, (one,))


def sight(shown: tuple[Server, ...], column: str) -> Sight:
    late = column == "late"
    return Sight(
        servers=shown,
        settles=not column.startswith("old"),
        calls=1 if late else int(column[-1]),
        waited_since=NOW - (601 if late else 1) * NS,
        now=NOW,
    )


def said(decision: Decision) -> str:
    match decision:
        case Act(action=action, server_id="id-1"):
            return {START: "START", STOP: "STOP"}[action]
        case Fail(cause=cause):
            return cause.error
        case Settled() | Wait():
            return type(decision).__name__.lower()
    raise AssertionError(decision)


@pytest.mark.parametrize(("want", "status", "task", "column", "word"), CASES)
def test_the_table(want: str, status: str, task: str, column: str, word: str) -> None:
    shown = servers(status, None if task == "-" else task)
    assert said(decide(Desired(want), sight(shown, column), LIMITS)) == word


@pytest.mark.parametrize(
    ("want", "patience", "word"), [(Desired.UP, 600, "boot"), (Desired.DOWN, 300, "stop")]
)
def test_patience_ends_after_the_group_s_own_seconds(
    want: Desired, patience: int, word: str
) -> None:
    passing = sight(servers("SHUTOFF", "powering-on"), "new1")
    just = replace(passing, waited_since=NOW - patience * NS)
    assert decide(want, just, LIMITS) == Wait()
    over = decide(want, replace(just, now=NOW + 1), LIMITS)
    assert isinstance(over, Fail)
    assert over.cause.error == f"{word}_timeout"
    assert over.cause.message == f"the server is SHUTOFF (powering-on) after {patience} s"


def test_the_cloud_s_own_words_about_a_server_in_error_are_passed_on() -> None:
    decision = decide(Desired.UP, sight(servers("ERROR", None), "new0"), LIMITS)
    assert isinstance(decision, Fail)
    assert decision.cause.message == "no host"


def test_several_servers_are_named_so_that_a_person_can_rename_one() -> None:
    decision = decide(Desired.DOWN, sight(servers("two", None), "new0"), LIMITS)
    assert isinstance(decision, Fail)
    assert "id-1, id-2" in decision.cause.message


STATUSES = st.one_of(st.sampled_from([row[1] for row in _ROWS]), st.text(max_size=8))
TASKS = st.one_of(st.none(), st.sampled_from(["powering-on", "powering-off"]), st.text(max_size=4))
SERVERS = st.lists(
    st.builds(Server, st.sampled_from(["a", "b"]), st.just("node1"), STATUSES, TASKS), max_size=2
).map(tuple)
SIGHTS = st.builds(
    Sight,
    servers=SERVERS,
    settles=st.booleans(),
    calls=st.integers(0, 5),
    waited_since=st.integers(NOW - 1000 * NS, NOW),
    now=st.just(NOW),
)
DESIRES = st.sampled_from(Desired)


@given(DESIRES, SIGHTS)
def test_only_a_sight_after_the_last_action_ends_the_matter(want: Desired, seen: Sight) -> None:
    if isinstance(decide(want, seen, LIMITS), Settled | Fail):
        assert seen.settles


@given(DESIRES, SIGHTS, SIGHTS)
def test_what_is_settled_is_never_acted_upon(want: Desired, seen: Sight, other: Sight) -> None:
    if isinstance(decide(want, seen, LIMITS), Settled):
        assert not isinstance(decide(want, replace(other, servers=seen.servers), LIMITS), Act)


@given(SIGHTS)
def test_no_server_is_both_started_and_stopped(seen: Sight) -> None:
    decisions = [decide(want, seen, LIMITS) for want in Desired]
    assert sum(isinstance(decision, Act) for decision in decisions) <= 1


@given(DESIRES, SIGHTS)
def test_an_action_goes_the_wanted_way_on_the_one_server_at_rest(
    want: Desired, seen: Sight
) -> None:
    decision = decide(want, seen, LIMITS)
    if isinstance(decision, Act):
        [server] = seen.servers
        assert decision == Act(START if want is Desired.UP else STOP, server.id)
        assert server.task is None
        assert seen.calls < LIMITS.calls


@given(DESIRES, SIGHTS)
def test_a_sure_sight_beyond_all_patience_always_leads_on(want: Desired, seen: Sight) -> None:
    late = replace(seen, settles=True, waited_since=NOW - 601 * NS)
    assert decide(want, late, LIMITS) != Wait()
