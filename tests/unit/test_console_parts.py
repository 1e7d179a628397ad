"""The console's parts without a server: alerts, lamps, changes, a request's stages, operators."""

from __future__ import annotations

import os
import resource
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from hypothesis import given
from starlette.requests import Request
from starlette.responses import Response

from ops.audit.job_start import JobStart
from ops.audit.request_history import request_history
from ops.cli.main import cli
from ops.cli.session import Session
from ops.console.alerts import alerts
from ops.console.auth import Authenticator
from ops.console.lamps import changed_lamps, lamp, summary
from ops.console.live import Live
from ops.console.operators import (
    Sessions,
    digest,
    is_valid_name,
    logouts_file,
    read_logouts,
    read_operators,
    write_logout,
)
from ops.console.pages import Pages
from ops.console.reader import event_line
from ops.console.render import environment, parts
from ops.console.timeout_reader import ReadTimeoutError, TimeoutReader
from ops.console.view import SiteView, with_drift
from ops.site import findings
from ops.site.findings import DRIFT_LASTS
from ops.site.spooled import SpoolStatus
from producers.settings import ConfigError
from schemas.events import Cause, Transition
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.stores import STORES
from tests.testbed.strategies import events as any_events
from tests.testbed.waiting import until
from workers.audit.log import append
from workers.audit.queries import Entry
from workers.audit.record import record_of
from workers.broker.depths import QueueDepth
from workers.config.tables import ConsoleSettings
from workers.resync.slurm_conf import ConfDifference
from workers.store.database import open_store, reading
from workers.store.heartbeats import Heartbeat
from workers.store.overview import NodePower
from workers.store.power_state import PowerState
from workers.store.requests import Round

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.events import RequestEvent

NS = 10**9


def entry(event_: RequestEvent, recorded_at: int = MOMENT + 60 * NS) -> Entry:
    envelope = event_.to_envelope()
    return Entry(
        1, event_.id, event_.cluster, event_.transition.type, event_.time, recorded_at,
        event_.node, event_.request_id, event_.round, str(event_.transition), envelope.to_json(),
    )  # fmt: skip


def heartbeat(name: str, seen_at: int) -> Heartbeat:
    return Heartbeat("power", name, "host", 1, MOMENT - 3600 * NS, seen_at, "")


def node(
    name: str, power: PowerState, desired: str = "up", observed: str | None = "ACTIVE"
) -> NodePower:
    return NodePower(name, power, desired, observed, MOMENT)


def test_no_alerts_when_everything_works() -> None:
    queues = tuple(
        QueueDepth(name, 0, 1) for name in ("power.resume", "power.suspend", "token.rpc", "audit")
    )
    view = SiteView(MOMENT, {"a": (node("n1", PowerState.ON),)}, queues, (heartbeat("p", MOMENT),))
    assert alerts(view) == []
    assert summary(view) == "1 of 1 node lit"


def test_alerts_are_ordered_by_severity() -> None:
    view = SiteView(
        MOMENT,
        {"a": (node("n1", PowerState.FAILED),)},
        (
            QueueDepth("power.resume", 5, 0),
            QueueDepth("power.dlq", 2, 0),
            QueueDepth("audit", None, None),
        ),
        problems=("the store is away",),
        in_store=(
            *findings.of_workers([heartbeat("power@host:1", MOMENT - 60 * NS)], MOMENT),
            *findings.of_snapshot(stale=True),
            *findings.of_drifts({"orphan": 1}, DRIFT_LASTS),
            *findings.of_failed_nodes(["n1"]),
        ),
    )
    assert [alert.words for alert in alerts(view)] == [
        "the store is away; lamplighter doctor looks closer",
        "queues are missing: audit; run lamplighter topology apply",
        (
            "workers not running: power; nothing is lost; systemctl start lamplighter.target, or "
            "without systemd lamplighter up"
        ),
        "2 dead letters to resolve; see lamplighter dead-letters list",
        (
            "no heartbeat from power@host:1 since 03:03:05 UTC: killed or stuck; look at its log, "
            "and restart it"
        ),
        (
            "no recent snapshot of Slurm's nodes: nothing is repaired, late suspends wait; "
            "check slurmctld, and lamplighter worker snapshot on its host"
        ),
        "drift from what Slurm wants: 1 orphan; see lamplighter drift",
        "1 node failed: n1; see lamplighter nodes show NODE",
    ]
    assert alerts(view)[3].page == "/dead-letters"


def test_what_lamplighter_status_only_notes_is_no_alert() -> None:
    fresh = tuple(findings.of_drifts({"orphan": 1}, DRIFT_LASTS - 1))
    odd = ConfDifference(wrong=False, words="SuspendTime is not set", remedy="set it")
    assert alerts(SiteView(MOMENT, in_store=fresh, slurm_conf=(odd,))) == []


def test_what_slurm_conf_has_otherwise_is_an_alert() -> None:
    odd = ConfDifference(wrong=True, words="ResumeTimeout is shorter", remedy="set it to 600")
    assert [alert.words for alert in alerts(SiteView(MOMENT, slurm_conf=(odd,)))] == [odd.text]


def test_calls_that_wait_for_long_are_an_alert_and_a_moment_is_none() -> None:
    young, old = SpoolStatus("/s", 1, 3.0), SpoolStatus("/s", 2, 3600.0)
    assert alerts(SiteView(MOMENT, spools=(young,))) == []
    (alert,) = alerts(SiteView(MOMENT, spools=(old,)))
    assert "2 calls wait in /s for the broker, the oldest for 1 h 0 min" in alert.words


def test_optional_workers_are_missing_only_if_their_queues_hold_messages() -> None:
    idle = (QueueDepth("resync", 0, 0), QueueDepth("slurm.events", 0, 0))
    assert alerts(SiteView(MOMENT, queues=idle)) == []
    (alert,) = alerts(
        SiteView(MOMENT, queues=(QueueDepth("resync", 1, 0), QueueDepth("slurm.events", 9, 0)))
    )
    assert "resync, slurm; nothing is lost" in alert.words


def test_refresh_token_alert_from_two_weeks_before_expiry() -> None:
    day = 86_400 * NS
    for left, expected in (
        (15, []),
        (2, ["expires in 2 days"]),
        (1, ["expires in 1 day"]),
        (-1, ["has expired"]),
    ):
        found = tuple(findings.of_logins({"sbg": MOMENT + left * day}, MOMENT))
        assert [one.words for one in alerts(SiteView(MOMENT, in_store=found))] == [
            f"the refresh token for sbg {when}; run lamplighter tokens login sbg"
            for when in expected
        ]


def test_open_request_shows_whether_its_node_powers_on_or_off() -> None:
    requested = Round("r1", 1, "n1", MOMENT, MOMENT)
    view = SiteView(MOMENT, {"a": (node("n1", PowerState.POWERING_ON),)}, open=(requested,))
    assert view.oldest == [(requested, PowerState.POWERING_ON)]
    assert "lighting" in parts(environment())(view)["open"]


def test_lamps_are_unknown_without_the_state_store() -> None:
    nodes = {"a": (node("n1", PowerState.OFF, observed=None),)}
    known, unknown = SiteView(MOMENT, nodes), SiteView(MOMENT, nodes, store_away=True)
    assert changed_lamps(known, unknown) == [(0, "unknown", "unknown")]
    assert "0 of 1" not in summary(unknown)
    shown = parts(environment())(unknown)
    assert "out" not in shown["counts-0"]
    for name in ("open", "workers", "logins"):
        assert "Unknown: the state store does not answer" in shown[name]


def test_drift_makes_a_lamp_fail_unless_a_request_is_in_progress() -> None:
    off = node("n1", PowerState.OFF, "down", "SHUTOFF")
    powering_off = node("n2", PowerState.POWERING_OFF)
    assert with_drift(off, "orphan").power is PowerState.FAILED
    assert with_drift(powering_off, "orphan") is powering_off
    view = SiteView(
        MOMENT, slurm_states={"n1": "IDLE+CLOUD+POWERED_DOWN"}, node_drifts={"n1": "orphan"}
    )
    assert lamp(view, with_drift(off, "orphan")).words == (
        "drift from Slurm: orphan; Slurm: IDLE+CLOUD+POWERED_DOWN"
    )
    assert lamp(view, powering_off).words == "going out"


def test_changes_identify_lamps_by_their_index_on_the_page() -> None:
    before = SiteView(
        MOMENT, {"a": (node("n1", PowerState.ON),), "b": (node("n2", PowerState.POWERING_ON),)}
    )
    failed = node("n2", PowerState.FAILED, "up", "SHUTOFF")
    after = replace(before, groups={"a": before.groups["a"], "b": (failed,)})
    assert changed_lamps(before, after) == [(1, "failed", "wanted up, observed SHUTOFF")]


def test_update_without_a_change_is_not_sent_and_new_nodes_reload_the_page() -> None:
    views = [SiteView(MOMENT, {"a": (node("n1", PowerState.ON),)})]
    live = Live(lambda: views[-1], parts(environment()))
    first, _ = live.now
    live.update()
    assert live.now[0] == first
    views.append(SiteView(MOMENT, {"a": (node("n1", PowerState.OFF),)}))
    live.update()
    assert live.now[0] == first + 1
    views.append(SiteView(MOMENT, {"a": (node("n2", PowerState.OFF),)}))
    live.update()
    assert [change.data is None for change in live._after(first)] == [False, True]


@pytest.mark.slow
def test_hanging_source_is_read_once_and_its_late_answer_is_used() -> None:
    go = threading.Event()
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        go.wait(20)
        return len(reads)

    slow = TimeoutReader("broker", read)
    for _ in range(3):
        with pytest.raises(ReadTimeoutError, match="the broker does not answer"):
            slow.read()
    assert len(reads) == 1
    go.set()
    until(lambda: answers_one(slow), 10, "the answer")
    assert slow.read() == 2, "the next call reads again"


@pytest.mark.slow
def test_what_a_source_said_last_is_said_until_it_has_answered_again() -> None:
    """An alarm of the broker takes seconds to find out: meanwhile, it is not silence."""
    go = threading.Event()
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        if len(reads) > 1:
            go.wait(20)
        if len(reads) < 3:
            raise ValueError("an alarm")
        return 1

    slow = TimeoutReader("broker", read)
    for _ in range(3):
        with pytest.raises(ValueError, match="an alarm"):
            slow.read()
    assert len(reads) == 2
    go.set()
    until(lambda: answers_one(slow), 10, "the answer")


def answers_one(slow: TimeoutReader[int]) -> bool:
    try:
        return slow.read() == 1
    except (ReadTimeoutError, ValueError):
        return False


def test_retry_wait_and_dead_letter_are_stages() -> None:
    requested, why = command(), Cause("quota", "no room")
    events = [
        event(Transition.ACCEPTED, requested, time=MOMENT + NS),
        replace(
            event(Transition.RETRIED, requested, time=MOMENT + 2 * NS, cause=why),
            attempt=1,
            retry_in=5,
        ),
        event(Transition.FAILED, requested, time=MOMENT + 9 * NS, cause=why),
        event(Transition.REPLAYED, requested, time=MOMENT + 100 * NS, round_=2),
        event(Transition.COMPLETED, requested, time=MOMENT + 110 * NS, round_=2),
    ]
    way = request_history([entry(one, one.time + NS) for one in events]).stages(MOMENT)
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


def test_registration_and_job_start_are_the_last_stages() -> None:
    """Slurm's times are whole seconds: one that precedes the cloud's answer gives an empty stage."""
    requested = command()
    on_at = MOMENT + 9 * NS
    events = [
        entry(event(Transition.ACCEPTED, requested, time=MOMENT + NS)),
        entry(event(Transition.COMPLETED, requested, time=on_at)),
    ]
    begun = JobStart(on_at + 20 * NS, 4711, on_at + 31 * NS)
    way = request_history(events, begun).stages(MOMENT)
    assert [(s.name, (s.end - s.begin) // NS, s.words) for s in way[-2:]] == [
        ("registration", 20, "slurmd had started"),
        ("job start", 11, "job 4711 started"),
    ]
    early = request_history(events, replace(begun, registered_at=on_at - NS)).stages(MOMENT)
    assert [(s.name, (s.end - s.begin) // NS) for s in early[-2:]] == [
        ("registration", 0),
        ("job start", 31),
    ]


def test_stage_in_progress_lasts_until_now() -> None:
    accepted = entry(event(Transition.ACCEPTED, time=MOMENT + NS))
    (_, last) = request_history([accepted]).stages(MOMENT + 31 * NS)
    assert (last.name, last.end - last.begin, last.words) == ("worker", 30 * NS, "under way")


@pytest.mark.slow
@given(any_events)
def test_any_event_is_rendered_without_control_characters(event_: RequestEvent) -> None:
    templates = environment()
    record = entry(event_)
    lines = str(templates.globals["parts"].lines([event_line(record)]))  # type: ignore[attr-defined]
    history = request_history([record])
    way = history.stages(MOMENT)
    assert all(stage.begin <= stage.end for stage in way)
    page = templates.get_template("request.html").render(
        cluster="x", user=None, can_login=False, can_logout=False, page="", view=SiteView(0),
        request_id=event_.request_id, node=event_.node, stages=way, begin=way[0].begin, span=1,
        rounds=1, steps=history.timeline, jobs=[7],
    )  # fmt: skip
    for text in (lines, page):
        text.encode()
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_session_expires_and_has_its_own_csrf_token() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    idle = sessions.open("idle")
    one, two = sessions.open("anna"), sessions.open("anna")
    first, second = sessions.session(one), sessions.session(two)
    assert first is not None
    assert second is not None
    assert first.name == "anna"
    assert sessions.csrf(one) != sessions.csrf(two)
    for hour in range(1, 16):  # a user who is active is logged out after a day's work
        now[0] = hour * 1800.0
        assert sessions.session(one) is not None
        sessions.session(two, is_active=False)
    assert sessions.session(idle) is None
    assert sessions.session(two) is None
    now[0] = 8 * 3600.0
    assert sessions.session(one) is None
    assert sessions.session("unknown") is None


BY_PERSON = {"sec-fetch-mode": "navigate", "sec-fetch-user": "?1"}
BY_PAGE = {"sec-fetch-mode": "navigate"}


@pytest.mark.parametrize(
    ("path", "sent", "stays"),
    [
        ("/", BY_PERSON, True),
        ("/", {}, True),  # no browser
        ("/", BY_PAGE, False),
        ("/live", {"sec-fetch-mode": "cors"}, False),
        ("/live", BY_PERSON, False),
    ],
)
@pytest.mark.parametrize("login_to_read", [False, True])
def test_a_page_that_reloads_itself_keeps_nobody_logged_in(
    path: str, sent: dict[str, str], *, stays: bool, login_to_read: bool
) -> None:
    """Only what a person does postpones the end of a session, whichever way the page asks."""
    now = [0.0]
    tokens = {digest("token"): "anna"}
    settings = ConsoleSettings(login_to_read=login_to_read)
    auth = Authenticator(settings, lambda: tokens, local=True)
    auth._sessions = Sessions(lambda: now[0])
    cookie = auth._sessions.open("anna", digest("token"))
    headers = {"host": "127.0.0.1", "cookie": f"lamplighter={cookie}", **sent}
    request = Request({
        "type": "http", "method": "GET", "path": path, "query_string": b"", "scheme": "http",
        "server": ("127.0.0.1", 1), "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    })  # fmt: skip
    for _ in range(4):
        now[0] += 1000.0
        auth.may_read(request)
        auth.user(request)
        auth.has_session(request)
    assert (auth.user(request) is not None) is stays


def test_a_logout_ends_sessions_whatever_the_time_of_the_host_is(tmp_path: Path) -> None:
    """The time was ahead at the login, or at a logout before it."""
    operators = tmp_path / "operators"
    operators.touch(mode=0o600)
    tokens = {digest("token"): "anna"}
    auth = Authenticator(
        ConsoleSettings(), lambda: tokens, local=True, logouts=lambda: read_logouts(operators)
    )

    def asked(*cookies: str) -> Request:
        headers = [(b"host", b"127.0.0.1"), *((b"cookie", one.encode()) for one in cookies)]
        return Request({
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http",
            "server": ("127.0.0.1", 1), "headers": headers,
        })  # fmt: skip

    moments = [(None, MOMENT * 2), ("anna", 5), (None, 3), ("anna", 7)]
    for name, now in moments:
        answer = Response()
        assert auth.login("token", answer, asked())
        request = asked(answer.headers.getlist("set-cookie")[-1].partition(";")[0])
        assert auth.user(request) is not None
        write_logout(operators, name, now)
        assert auth.user(request) is None


def test_an_operator_is_added_on_a_line_of_its_own_or_not_at_all(run_dir: Path) -> None:
    """The last line lacks its end, others may read the file, or the disk is full."""
    config, operators = run_dir / "lamplighter.toml", run_dir / "operators"
    config.write_text(
        'cluster = "c"\n[broker]\nurl = "amqp://127.0.0.1/v"\n[broker.users]\nfolder = "users"\n'
        '[console]\noperators_file = "operators"\n'
    )
    operators.touch(mode=0o600)
    operators.write_text(f"anna sha256:{digest('a')}")
    words = ["--config", str(config), "console", "operator", "bert"]

    def add() -> int:
        return CliRunner().invoke(cli, words).exit_code

    assert add() == 0
    assert sorted(read_operators(operators).values()) == ["anna", "bert"]
    before = operators.read_bytes()
    operators.chmod(0o644)
    assert add() != 0
    operators.chmod(0o600)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, hard))
    try:
        assert add() != 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert operators.read_bytes() == before


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "é", "-a", "<b>", "x" * 65])
def test_invalid_operator_name_is_refused(name: str) -> None:
    assert not is_valid_name(name)


def test_operators_file_that_other_users_may_write_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "operators"
    path.write_text(f"# ours\n\nanna sha256:{digest('a')}\nbert sha256:{digest('b')}\n")
    path.chmod(0o640)
    assert read_operators(path) == {digest("a"): "anna", digest("b"): "bert"}
    for mode in (0o620, 0o644, 0o602):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="run chmod"):
            read_operators(path)
    path.chmod(0o600)
    path.write_text("anna plain-text\n")
    with pytest.raises(ConfigError, match="line 1: write NAME"):
        read_operators(path)
    assert os.access(path, os.R_OK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_operators_that_root_adds_can_log_in_to_a_console_of_another_user(run_dir: Path) -> None:
    """Of the unit: its user owns the console's password at the broker, and reads this file."""
    config = run_dir / "lamplighter.toml"
    config.write_text(
        'cluster = "c"\n[broker]\nurl = "amqp://127.0.0.1/v"\n[broker.users]\nfolder = "users"\n'
        '[console]\noperators_file = "operators"\n'
    )
    (run_dir / "users").mkdir()
    (run_dir / "users" / "console.password").touch(mode=0o600)
    os.chown(run_dir / "users" / "console.password", 65_534, 65_534)
    for name in ("anna", "bert"):
        words = ["--config", str(config), "console", "operator", name]
        result = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    write_logout(run_dir / "operators", "anna", 1)
    for path in run_dir.glob("*operators*"):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (65_534, 0o600), path
    assert sorted(read_operators(run_dir / "operators").values()) == ["anna", "bert"]


def test_who_may_read_the_operators_file_may_read_the_logouts(run_dir: Path) -> None:
    """Where root owns both, the console reads them by its group: otherwise a logout keeps everybody out."""
    operators = run_dir / "operators"
    operators.touch(mode=0o600)
    for mode in (0o640, 0o600):
        operators.chmod(mode)
        write_logout(operators, None, mode)
        assert logouts_file(operators).stat().st_mode & 0o777 == mode


def test_an_operator_is_added_below_a_line_that_an_editor_left_without_end(run_dir: Path) -> None:
    """Both names would be one wrong line otherwise: nobody could log in."""
    config, operators = run_dir / "lamplighter.toml", run_dir / "operators"
    config.write_text(
        'cluster = "c"\n[broker]\nurl = "amqp://127.0.0.1/v"\n'
        '[console]\noperators_file = "operators"\n'
    )
    operators.write_text(f"anna sha256:{digest('a')}")
    operators.chmod(0o600)
    words = ["--config", str(config), "console", "operator", "bert"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert sorted(read_operators(operators).values()) == ["anna", "bert"]


def test_a_job_that_was_requeued_has_waited_for_its_last_run_not_since_its_next_submission(
    tmp_path: Path,
) -> None:
    """Slurm sets the submission again; of a UWS job, it is known before the next run."""

    def about(what: JobTransition, at: int, submitted: int, started: int | None) -> JobEvent:
        times = MOMENT + submitted * NS, MOMENT + at * NS
        begun = None if started is None else MOMENT + started * NS
        job = JobEvent(what, "test", 7, *times, nodes=("n1",), uws_id="u", started_at=begun)
        return replace(job, user=None if started is None else "ann")

    events = [
        about(JobTransition.STARTED, 60, 0, 60),
        replace(about(JobTransition.ENDED, 90, 0, 60), state="GONE"),
        about(JobTransition.IDENTIFIED, 400, 395, None),
    ]
    store = open_store(STORES.url(tmp_path / "audit.db"), "audit")
    append(store, [record_of(e.to_envelope().to_json(), "test", e.time) for e in events])
    session = Mock(spec=Session, reading=lambda _: reading(store))
    _, shown = Pages(session).job("7", {})
    store.dispose()
    assert shown["waited"] == 60 * NS
