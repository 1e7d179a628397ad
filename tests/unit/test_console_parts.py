"""The console's pure parts: what concerns a person, what has changed, a request's way, who may act."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from ops.console.alerts import alerts
from ops.console.live import Live
from ops.console.people import Sessions, digest, is_person, read_operators
from ops.console.reader import line_of
from ops.console.render import environment, parts
from ops.console.timeout_reader import SilentError, TimeoutReader
from ops.console.view import LoginState, SiteView, astray, changed_lamps, summary, words
from ops.history.job_start import JobStart
from ops.history.request import request_history
from producers.settings import ConfigError
from schemas.events import Cause, Transition
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.strategies import events as any_events
from tests.testbed.waiting import until
from workers.audit.queries import Entry
from workers.broker.depths import QueueDepth
from workers.store.heartbeats import Heartbeat
from workers.store.lamps import Lamp, lamp
from workers.store.overview import NodeLamp, Open

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.events import RequestEvent

NS = 10**9


def entry(told: RequestEvent, recorded_at: int = MOMENT + 60 * NS) -> Entry:
    envelope = told.to_envelope()
    return Entry(
        1, told.id, told.cluster, told.transition.type, told.time, recorded_at,
        told.node, told.request_id, told.round, str(told.transition), envelope.to_json(),
    )  # fmt: skip


def sign(name: str, seen_at: int) -> Heartbeat:
    return Heartbeat("power", name, "host", 1, MOMENT - 3600 * NS, seen_at, "")


def lit(node: str, how: Lamp, desired: str = "up", observed: str | None = "ACTIVE") -> NodeLamp:
    return NodeLamp(node, how, desired, observed, MOMENT)


@pytest.mark.parametrize(
    ("desired", "observed", "busy", "shown"),
    [
        (None, None, False, Lamp.OUT),
        ("up", "ACTIVE", False, Lamp.LIT),
        ("up", "SHUTOFF", True, Lamp.LIGHTING),
        ("up", "SHUTOFF", False, Lamp.FAILED),
        ("up", "quota", False, Lamp.FAILED),
        ("down", "ACTIVE", True, Lamp.GOING_OUT),
        ("down", "ACTIVE", False, Lamp.FAILED),
        ("down", "SHELVED_OFFLOADED", False, Lamp.OUT),
        ("gone", "NONE", False, Lamp.OUT),
        ("adopted", "ACTIVE", False, Lamp.LIT),
        ("adopted", "ERROR", False, Lamp.FAILED),
    ],
)
def test_a_lamp_shows_what_is_wanted_against_what_is_there(
    *, desired: str | None, observed: str | None, busy: bool, shown: Lamp
) -> None:
    assert lamp(desired, observed, busy=busy) is shown


def test_nothing_concerns_anybody_where_all_is_well() -> None:
    queues = tuple(
        QueueDepth(name, 0, 1) for name in ("power.resume", "power.suspend", "token.rpc", "audit")
    )
    view = SiteView(MOMENT, {"a": (lit("n1", Lamp.LIT),)}, queues, (sign("p", MOMENT),))
    assert alerts(view) == []
    assert summary(view) == "1 of 1 node lit"


def test_the_gravest_comes_first() -> None:
    view = SiteView(
        MOMENT,
        {"a": (lit("n1", Lamp.FAILED),)},
        (
            QueueDepth("power.resume", 5, 0),
            QueueDepth("power.dlq", 2, 0),
            QueueDepth("audit", None, None),
        ),
        (sign("power@host:1", MOMENT - 60 * NS),),
        problems=("the store is away",),
        drifts={"orphan": 1},
        stale=True,
    )
    assert [concern.words for concern in alerts(view)] == [
        "the store is away",
        "queues are missing: run lamplighter topology apply (audit)",
        "missing workers: power; nothing is lost (lamplighter up)",
        "worker power@host:1 is silent since 03:03:05 UTC: killed, or stuck",
        (
            "Slurm has long shown no nodes: nothing is repaired, late suspends wait; "
            "is slurmctld up, and lamplighter worker snapshot on its host?"
        ),
        "2 dead letters to decide on",
        "not as Slurm wants it: 1 orphan (lamplighter drift)",
        "1 node not as wanted: n1",
    ]
    assert alerts(view)[5].page == "/dead-letters"


def test_who_serves_not_every_site_is_missed_only_where_something_waits_for_them() -> None:
    idle = (QueueDepth("resync", 0, 0), QueueDepth("slurm.events", 0, 0))
    assert alerts(SiteView(MOMENT, queues=idle)) == []
    (concern,) = alerts(
        SiteView(MOMENT, queues=(QueueDepth("resync", 1, 0), QueueDepth("slurm.events", 9, 0)))
    )
    assert "resync, slurm; nothing is lost" in concern.words


def test_a_refresh_token_is_told_of_two_weeks_before_it_ends_and_when_it_has() -> None:
    day = 86_400 * NS
    for left, told in (
        (15, []),
        (2, ["ends in 2 days"]),
        (1, ["ends in 1 day"]),
        (-1, ["has ended"]),
    ):
        found = alerts(SiteView(MOMENT, logins=(LoginState("sbg", MOMENT + left * day),)))
        assert [one.words for one in found] == [
            f"the refresh token for sbg {how}: lamplighter tokens login sbg" for how in told
        ]


def test_what_is_under_way_shows_which_way_its_node_goes() -> None:
    asked = Open("r1", 1, "n1", MOMENT, MOMENT)
    view = SiteView(MOMENT, {"a": (lit("n1", Lamp.LIGHTING),)}, open=(asked,))
    assert view.oldest == [(asked, Lamp.LIGHTING)]
    assert "lighting" in parts(environment())(view)["open"]


def test_without_the_store_no_lamp_is_said_to_be_out() -> None:
    nodes = {"a": (lit("n1", Lamp.OUT, observed=None),)}
    seeing, blind = SiteView(MOMENT, nodes), SiteView(MOMENT, nodes, blind=True)
    assert changed_lamps(seeing, blind) == [(0, "unknown", "not known")]
    assert "0 of 1" not in summary(blind)
    shown = parts(environment())(blind)
    assert "out" not in shown["counts-0"]
    for name in ("open", "workers", "logins"):
        assert "Not known" in shown[name]


def test_a_lamp_tells_slurms_state_and_a_drift_makes_it_fail_unless_something_is_under_way() -> (
    None
):
    dark, going = lit("n1", Lamp.OUT, "down", "SHUTOFF"), lit("n2", Lamp.GOING_OUT)
    assert astray(dark, "orphan").lamp is Lamp.FAILED
    assert astray(going, "orphan") is going
    view = SiteView(MOMENT, slurm={"n1": "IDLE+CLOUD+POWERED_DOWN"}, adrift={"n1": "orphan"})
    assert words(view, astray(dark, "orphan")) == (
        "not as Slurm wants it: orphan; Slurm: IDLE+CLOUD+POWERED_DOWN"
    )
    assert words(view, going) == "going out"


def test_changes_name_lamps_by_their_place_on_the_page() -> None:
    before = SiteView(MOMENT, {"a": (lit("n1", Lamp.LIT),), "b": (lit("n2", Lamp.LIGHTING),)})
    dark = lit("n2", Lamp.FAILED, "up", "SHUTOFF")
    after = replace(before, groups={"a": before.groups["a"], "b": (dark,)})
    assert changed_lamps(before, after) == [(1, Lamp.FAILED, "wanted up, but SHUTOFF")]


def test_a_look_without_a_change_tells_nobody_and_other_nodes_load_the_page_anew() -> None:
    views = [SiteView(MOMENT, {"a": (lit("n1", Lamp.LIT),)})]
    live = Live(lambda: views[-1], parts(environment()))
    first, _ = live.now
    live.turn()
    assert live.now[0] == first
    views.append(SiteView(MOMENT, {"a": (lit("n1", Lamp.OUT),)}))
    live.turn()
    assert live.now[0] == first + 1
    views.append(SiteView(MOMENT, {"a": (lit("n2", Lamp.OUT),)}))
    live.turn()
    assert [change.data is None for change in live._after(first)] == [False, True]


def test_who_is_silent_is_waited_for_once_and_heard_when_it_speaks() -> None:
    go = threading.Event()
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        go.wait(20)
        return len(reads)

    slow = TimeoutReader("broker", read)
    for _ in range(3):
        with pytest.raises(SilentError, match="the broker does not answer"):
            slow.ask()
    assert len(reads) == 1
    go.set()
    until(lambda: heard(slow), 10, "the answer")
    assert slow.ask() == 2, "the next time it is read anew"


def heard(slow: TimeoutReader[int]) -> bool:
    try:
        return slow.ask() == 1
    except SilentError:
        return False


def test_a_rest_and_a_person_are_stages_of_their_own() -> None:
    asked, why = command(), Cause("quota", "no room")
    tell = [
        event(Transition.ACCEPTED, asked, time=MOMENT + NS),
        replace(
            event(Transition.RETRIED, asked, time=MOMENT + 2 * NS, cause=why), attempt=1, retry_in=5
        ),
        event(Transition.FAILED, asked, time=MOMENT + 9 * NS, cause=why),
        event(Transition.REPLAYED, asked, time=MOMENT + 100 * NS, round_=2),
        event(Transition.COMPLETED, asked, time=MOMENT + 110 * NS, round_=2),
    ]
    way = request_history([entry(one, one.time + NS) for one in tell]).stages(MOMENT)
    assert [(s.name, (s.end - s.begin) // NS) for s in way] == [
        ("hook, broker", 1),
        ("worker", 1),
        ("rest", 5),
        ("worker", 2),
        ("audit", 1),
        ("person", 90),
        ("hook, broker", 10),
        ("audit", 1),
    ]


def test_the_way_goes_on_to_the_registration_and_the_jobs_start() -> None:
    """Slurm tells whole seconds: what is earlier than the cloud's answer takes no time."""
    asked = command()
    lit_at = MOMENT + 9 * NS
    tell = [
        entry(event(Transition.ACCEPTED, asked, time=MOMENT + NS)),
        entry(event(Transition.COMPLETED, asked, time=lit_at)),
    ]
    begun = JobStart(lit_at + 20 * NS, 4711, lit_at + 31 * NS)
    way = request_history(tell, begun).stages(MOMENT)
    assert [(s.name, (s.end - s.begin) // NS, s.words) for s in way[-2:]] == [
        ("registration", 20, "slurmd had started"),
        ("job start", 11, "job 4711 started"),
    ]
    early = request_history(tell, replace(begun, registered_at=lit_at - NS)).stages(MOMENT)
    assert [(s.name, (s.end - s.begin) // NS) for s in early[-2:]] == [
        ("registration", 0),
        ("job start", 31),
    ]


def test_what_is_under_way_lasts_until_now() -> None:
    accepted = entry(event(Transition.ACCEPTED, time=MOMENT + NS))
    (_, last) = request_history([accepted]).stages(MOMENT + 31 * NS)
    assert (last.name, last.end - last.begin, last.words) == ("worker", 30 * NS, "under way")


@settings(max_examples=50)
@given(any_events)
def test_any_event_however_hostile_can_be_shown(told: RequestEvent) -> None:
    templates = environment()
    held = entry(told)
    lines = str(templates.globals["parts"].lines([line_of(held)]))  # type: ignore[attr-defined]
    history = request_history([held])
    way = history.stages(MOMENT)
    assert all(stage.begin <= stage.end for stage in way)
    page = templates.get_template("request.html").render(
        cluster="x", person=None, can_login=False, can_logout=False, page="", view=SiteView(0),
        request_id=told.request_id, node=told.node, stages=way, begin=way[0].begin, span=1,
        rounds=1, steps=history.timeline,
    )  # fmt: skip
    for text in (lines, page):
        text.encode()
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_session_ends_by_time_and_each_has_its_own_forms() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    one, two = sessions.open("anna"), sessions.open("anna")
    first, second = sessions.person(one), sessions.person(two)
    assert first is not None
    assert second is not None
    assert first.name == "anna"
    assert first.csrf != second.csrf
    now[0] = 8 * 3600.0
    assert sessions.person(one) is None
    assert sessions.person("never given") is None


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "é", "-a", "<b>", "x" * 65])
def test_who_cannot_be_written_down_is_nobody(name: str) -> None:
    assert not is_person(name)


def test_the_operators_file_is_believed_only_if_no_other_can_have_written_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "operators"
    path.write_text(f"# ours\n\nanna sha256:{digest('a')}\nbert sha256:{digest('b')}\n")
    path.chmod(0o640)
    assert read_operators(path) == {digest("a"): "anna", digest("b"): "bert"}
    for mode in (0o620, 0o644, 0o602):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 0600"):
            read_operators(path)
    path.chmod(0o600)
    path.write_text("anna plain-text\n")
    with pytest.raises(ConfigError, match="line 1: write NAME"):
        read_operators(path)
    assert os.access(path, os.R_OK)
