"""The console over HTTP: who may read, who may act, and that text from messages is always escaped."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from html import unescape
from http.client import HTTPConnection
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ops.console.operators import digest
from schemas.commands import WaitingJob
from schemas.envelope import parse
from schemas.events import Cause, Transition, event_from
from schemas.headers import CAUSE_MESSAGE
from schemas.notices import notice_from
from schemas.registrations import Registration
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.console_site import NS, console_site, failed, ran, resumed
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import CORRELATION, command, dead_letter, event
from tests.testbed.stores import STORES
from tests.testbed.waiting import until
from workers.broker import topology
from workers.resync.drift import Drift
from workers.resync.drift_memory import DriftMemory
from workers.slurm.node_memory import Due, NodeMemory
from workers.store.database import open_store
from workers.store.snapshots import keep_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.testbed.broker import Broker
    from tests.testbed.console_site import ConsoleSite

TOKEN = "anna's token"
HOSTILE = "</td><script>alert(1)</script>\u202e\x1b[31m\"'"
PAGES = (
    *("/", "/attention", "/events", "/dead-letters", "/report"),
    *("/nodes/node1", "/jobs/4711", "/login", "/no/such/page"),
)


@pytest.fixture(scope="module")
def made(session_dir: Path, broker: Broker) -> Iterator[ConsoleSite]:
    """A console with 20 nodes; anna is an operator."""
    folder = session_dir / "console"
    folder.mkdir()
    operators = folder / "operators"
    operators.touch(mode=0o600)
    operators.write_text(f"anna sha256:{digest(TOKEN)}\n")
    (folder / "proxy").touch(mode=0o600)
    (folder / "proxy").write_text("of the proxy\n")
    lines = (
        'operators_file = "operators"\nhosts = ["console.example.org"]\n'
        'proxy = {address = "127.0.0.2", header = "X-Remote-User", secret_file = "proxy"}\n'
    )
    url = broker.amqp_url(broker.create_vhost())
    with console_site(folder, url, {"compute": "node[1-16]", "gpu": "gpu[1-4]"}, lines) as found:
        found.set_nodes({f"node{n}": ("up", "ACTIVE") for n in range(1, 9)})
        now = time.time_ns()
        found.record(
            resumed("node1", now - 90 * NS) + failed("gpu1", now - 60 * NS, message=HOSTILE)
        )
        yield found


@pytest.fixture
def anna(made: ConsoleSite) -> Iterator[requests.Session]:
    """A browser session in which anna has logged in."""
    with requests.Session() as browser:
        answer = browser.post(
            f"{made.url}/login", data={"token": TOKEN}, headers=origin(made), timeout=20
        )
        assert "anna" in answer.text
        yield browser


def origin(made: ConsoleSite) -> dict[str, str]:
    return {"Origin": made.url}


def get(made: ConsoleSite, path: str, **headers: str) -> requests.Response:
    return requests.get(made.url + path, headers=headers, timeout=20, allow_redirects=False)


def csrf(browser: requests.Session, made: ConsoleSite) -> str:
    page = browser.get(f"{made.url}/dead-letters", timeout=20).text
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


def audit_events(made: ConsoleSite) -> list[Any]:
    events = [event_from(parse(body)) for _, body in made.site.drain(topology.AUDIT_QUEUE)]
    return [(e.transition, e.by, e.reason) for e in events]


def test_every_page_has_security_headers(made: ConsoleSite) -> None:
    for path in (*PAGES, "/static/console.js"):
        headers = get(made, path).headers
        assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_unknown_host_header_gets_421(
    made: ConsoleSite,
) -> None:
    port = made.url.rpartition(":")[2]
    for host in (
        f"evil.example:{port}",
        "evil.example",
        f"127.0.0.1.evil.example:{port}",
        "127.0.0.1",
    ):
        assert get(made, "/", Host=host).status_code == 421
    for host in (f"localhost:{port}", "console.example.org", "CONSOLE.example.org"):
        assert get(made, "/", Host=host).status_code == 200


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape"])
def test_form_that_names_its_own_encoding_gets_415(made: ConsoleSite, charset: str) -> None:
    """Nobody reads it: punycode takes a minute for a megabyte, and nobody else is served meanwhile."""
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    part = f'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\nxn--{"a" * 70}\r\n--x--\r\n'
    headers = {**origin(made), "Content-Type": kind}
    for path in ("/login", "/logout", "/holds", "/dead-letters/act"):
        answer = requests.post(made.url + path, part, headers=headers, timeout=20)
        assert answer.status_code == 415
        assert "application/x-www-form-urlencoded" in answer.text


def test_nobody_logs_in_by_a_head_request(made: ConsoleSite) -> None:
    """Only a POST's origin, encoding and length are checked; a HEAD with a form was taken as one."""
    answer = requests.head(f"{made.url}/login", data={"token": TOKEN}, timeout=20)
    assert (answer.status_code, answer.cookies.get("lamplighter")) == (200, None)


def test_form_in_chunks_gets_413_whatever_length_it_names(made: ConsoleSite) -> None:
    """The chunks count, not the length that stands beside them: they could go on without end."""
    port = int(made.url.rpartition(":")[2])
    head = _half_form(port).replace(b"\r\n\r\ntok", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as sent:
        sent.sendall(head + b"5\r\ntoken\r\n")
        assert sent.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_dead_letters_cannot_be_resolved_without_login(made: ConsoleSite, verb: str) -> None:
    letter = command("gpu2", generation=time.time_ns())
    made.site.publish([dead_letter(letter)])
    form = {"do": verb, "id": letter.id, "reason": "x", "confirmed": "yes", "csrf": "0" * 64}
    attempts: list[dict[str, str]] = [
        origin(made),
        {**origin(made), "Cookie": "lamplighter=guessed"},
        # the proxy's header, from another address
        {**origin(made), "X-Remote-User": "anna"},
    ]
    for headers in attempts:
        answer = requests.post(
            f"{made.url}/dead-letters/act", data=form, headers=headers, timeout=20
        )
        assert answer.status_code == 403
    assert made.site.depth(topology.DEAD_LETTER_QUEUE) == 1
    assert "Replay" not in get(made, "/dead-letters").text
    made.site.drain(topology.DEAD_LETTER_QUEUE)


def test_forged_form_is_refused_although_its_victim_is_logged_in(
    made: ConsoleSite, anna: requests.Session
) -> None:
    letter = command("gpu2", generation=time.time_ns())
    made.site.publish([dead_letter(letter)])
    good = csrf(anna, made)
    form = {"do": "discard", "id": letter.id, "reason": "x", "confirmed": "yes"}
    act = f"{made.url}/dead-letters/act"
    for headers, token in (
        ({"Origin": "https://evil.example"}, good),
        ({}, good),
        ({"Origin": "null"}, good),
        ({**origin(made), "Sec-Fetch-Site": "cross-site"}, good),
        (origin(made), "0" * 64),
        (origin(made), ""),
    ):
        answer = anna.post(act, data={**form, "csrf": token}, headers=headers, timeout=20)
        assert answer.status_code == 403, headers
    assert anna.get(act, timeout=20).status_code == 404, "a link cannot act"
    assert made.site.depth(topology.DEAD_LETTER_QUEUE) == 1
    made.site.drain(topology.DEAD_LETTER_QUEUE)


def test_replay_and_discard_are_recorded_with_the_users_name(
    made: ConsoleSite, anna: requests.Session
) -> None:
    now = time.time_ns()
    one, two, three = (command(f"gpu{n}", generation=now) for n in (2, 3, 4))
    made.site.publish([dead_letter(letter) for letter in (one, two, three)])
    made.site.wait_depth(topology.DEAD_LETTER_QUEUE, 3)
    made.site.drain(topology.AUDIT_QUEUE)
    form = {"csrf": csrf(anna, made), "reason": "room again"}
    act = f"{made.url}/dead-letters/act"
    answer = anna.post(
        act, data={**form, "do": "replay", "id": one.id}, headers=origin(made), timeout=30
    )
    assert "1 replayed" in answer.text
    # several letters need a confirmation
    many = {**form, "do": "discard all", "error": "quota", "like": "no room left"}
    answer = anna.post(act, data=many, headers=origin(made), timeout=30)
    assert "Discard 2 dead letters?" in answer.text
    assert made.site.depth(topology.DEAD_LETTER_QUEUE) == 2
    before = re.search(r'name="before" value="([0-9]+)"', answer.text)
    assert before
    made.site.publish([dead_letter(command("gpu1", generation=now), died_at=time.time_ns())])
    made.site.wait_depth(topology.DEAD_LETTER_QUEUE, 3)
    confirmed = {**many, "confirmed": "yes", "before": before[1]}
    answer = anna.post(act, data=confirmed, headers=origin(made), timeout=30)
    assert "2 discarded" in answer.text
    until(lambda: made.site.depth(topology.DEAD_LETTER_QUEUE) == 1, 10, "the later letter")
    made.site.drain(topology.DEAD_LETTER_QUEUE)
    who = ("anna (console)", "room again")
    assert audit_events(made) == [
        (Transition.REPLAYED, *who),
        (Transition.DISCARDED, *who),
        (Transition.DISCARDED, *who),
    ]
    assert made.site.depth(topology.RESUME_QUEUE) == 1


def test_discard_needs_a_reason_and_every_action_needs_letters(
    made: ConsoleSite, anna: requests.Session
) -> None:
    now = time.time_ns()
    letter = command("gpu2", generation=now)
    made.site.publish([dead_letter(letter)])
    made.site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
    form = {"csrf": csrf(anna, made)}
    for more, words in (
        ({"do": "discard", "id": letter.id}, "Discard 1 dead letter?"),
        ({"do": "discard", "id": letter.id, "confirmed": "yes"}, "needs a reason"),
        ({"do": "discard", "id": "x"}, "No such letter any more"),
        ({"do": "replay"}, "Choose letters first"),
        ({"do": "burn", "id": "x"}, "replay or discard"),
    ):
        answer = anna.post(
            f"{made.url}/dead-letters/act", data={**form, **more}, headers=origin(made), timeout=20
        )
        assert words in answer.text
    assert made.site.depth(topology.DEAD_LETTER_QUEUE) == 1
    made.site.drain(topology.DEAD_LETTER_QUEUE)


def test_letters_of_one_cause_are_shown_and_replayed_together_and_no_others(
    made: ConsoleSite, anna: requests.Session
) -> None:
    words = "no room on host{0} for {0:032x}"
    made.site.publish(
        [
            dead_letter(command(f"node{n}", jobs=(n,)), more={CAUSE_MESSAGE: words.format(n)})
            for n in range(1, 8)
        ]
        + [dead_letter(command("node9"))]
    )
    made.site.wait_depth(topology.DEAD_LETTER_QUEUE, 8)
    until(lambda: "8 dead letters" in get(made, "/dead-letters").text, 10, "the letters")
    page = anna.get(f"{made.url}/dead-letters", timeout=20).text
    assert "node[1-7]; died 2026-01-02 03:04:25Z; for 7 jobs" in page
    assert page.count("<details>") == 1, "a long group is folded"
    like = re.search(r'name="like" value="([^"]+)"', page)
    assert like
    form = {"csrf": csrf(anna, made), "do": "replay all", "error": "quota", "like": like[1]}
    act = f"{made.url}/dead-letters/act"
    question = anna.post(act, data=form, headers=origin(made), timeout=30).text
    assert "Replay 7 dead letters?" in question
    done = anna.post(act, data={**form, "confirmed": "yes"}, headers=origin(made), timeout=30).text
    assert "7 replayed" in done
    until(lambda: made.site.depth(topology.DEAD_LETTER_QUEUE) == 1, 10, "the other one")
    for queue in (topology.DEAD_LETTER_QUEUE, topology.RESUME_QUEUE, topology.AUDIT_QUEUE):
        made.site.drain(queue)


def test_login_returns_to_the_requested_page_and_never_to_another_site(
    made: ConsoleSite,
) -> None:
    assert "/login?to=/dead-letters" in get(made, "/dead-letters").text

    def redirect(to: str) -> str:
        form = {"token": TOKEN, "to": to}
        answer = requests.post(
            f"{made.url}/login", form, headers=origin(made), timeout=20, allow_redirects=False
        )
        return answer.headers["Location"]

    assert redirect("/dead-letters") == "/dead-letters"
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "", "x"):
        assert redirect(elsewhere) == "/"
    assert "\n" not in redirect("/a\r\nSet-Cookie: x=y")


def test_logout_ends_the_session(made: ConsoleSite, anna: requests.Session) -> None:
    cookie = anna.cookies["lamplighter"]
    anna.post(
        f"{made.url}/logout", data={"csrf": csrf(anna, made)}, headers=origin(made), timeout=20
    )
    assert "anna" not in get(made, "/", Cookie=f"lamplighter={cookie}").text


def test_wrong_token_is_refused_and_the_cookie_is_hidden_from_scripts(
    made: ConsoleSite,
) -> None:
    login = f"{made.url}/login"
    wrong = requests.post(login, data={"token": "guess"}, headers=origin(made), timeout=20)
    assert wrong.status_code == 403
    assert "Set-Cookie" not in wrong.headers
    right = requests.post(
        login, data={"token": TOKEN}, headers=origin(made), timeout=20, allow_redirects=False
    )
    flags = right.headers["Set-Cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert TOKEN not in made.site.logs()


def test_login_over_plain_http_from_another_host_is_refused_with_the_reason(
    made: ConsoleSite,
) -> None:
    def login(scheme: str) -> requests.Response:
        host = "console.example.org"
        headers = {"Host": host, "Origin": f"{scheme}://{host}"}
        return requests.post(
            f"{made.url}/login",
            data={"token": TOKEN},
            headers=headers,
            timeout=20,
            allow_redirects=False,
        )

    plain = login("http")
    assert (plain.status_code, "Use HTTPS" in plain.text) == (403, True)
    assert "Set-Cookie" not in plain.headers
    assert "; Secure" in login("https").headers["Set-Cookie"]


def test_hostile_names_and_errors_are_escaped_on_every_page(
    made: ConsoleSite, anna: requests.Session
) -> None:
    letter = replace(command("gpu3", generation=time.time_ns()), note=HOSTILE)
    broken = dead_letter(letter, cause="quota", more={"x-cause-message": HOSTILE})
    made.site.publish([broken])
    hostile_event = replace(
        event(Transition.REPLAYED, command("gpu3"), cause=Cause(HOSTILE, HOSTILE)),
        by=HOSTILE,
        reason=HOSTILE,
    )
    made.record([hostile_event])
    pages = [
        "/",
        "/events",
        "/dead-letters",
        f"/dead-letters/{letter.id}",
        f"/requests/{hostile_event.request_id}",
        f"/events?node={HOSTILE}&since={HOSTILE}",
        f"/report?from={HOSTILE}&by={HOSTILE}",
        f"/nodes/{HOSTILE}",
        f"/jobs/{HOSTILE}",
        "/attention",
    ]
    for path in pages:
        text = anna.get(made.url + path, timeout=20).text
        assert "<script>alert" not in text, path
        assert "\u202e" not in text, path
        assert "\x1b" not in text, path
    assert "will be brought up" in anna.get(f"{made.url}/dead-letters/{letter.id}", timeout=20).text
    made.set_nodes({"gpu3": ("down", "SHUTOFF")})
    assert (
        "stale: a newer request wants gpu3 down"
        in anna.get(f"{made.url}/dead-letters/{letter.id}", timeout=20).text
    )
    shown = unescape(anna.get(f"{made.url}/events", timeout=20).text)
    assert "<script>alert(1)</script>\\u202e" in shown, "shown, with its control characters escaped"
    made.site.drain(topology.DEAD_LETTER_QUEUE)


def test_node_page_shows_a_hold_and_its_reason(made: ConsoleSite) -> None:
    made.hold("node16", HOSTILE)
    page = get(made, "/nodes/node16").text
    assert "on hold" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "on hold" not in get(made, "/nodes/node15").text


def shows(made: ConsoleSite, words: re.Pattern[str]) -> bool:
    """Whether the first page shows this."""
    return words.search(get(made, "/").text) is not None


def hold_form(browser: requests.Session, made: ConsoleSite, page: str) -> dict[str, str]:
    """The hidden fields of the hold form on a page."""
    text = browser.get(made.url + page, timeout=20).text
    form = re.search(r'<form method="post" action="/holds".*?</form>', text, re.DOTALL)
    assert form
    fields = re.findall(r'type="hidden" name="([a-z]+)" value="([^"]*)"', form[0])
    return {name: unescape(value) for name, value in fields}


def test_whoever_is_logged_in_holds_and_releases_nodes_in_their_own_name(
    made: ConsoleSite, anna: requests.Session
) -> None:
    made.site.drain(topology.AUDIT_QUEUE)
    act = f"{made.url}/holds"
    form = hold_form(anna, made, "/nodes/node12")
    # PostgreSQL keeps no text with a NUL, and nobody can read one
    reason = {"do": "hold", "reason": "disque\0 à vérifier"}
    answer = anna.post(act, {**form, **reason}, headers=origin(made), timeout=30)
    assert answer.url == f"{made.url}/nodes/node12"
    assert "disque à vérifier" in answer.text
    until(lambda: "node12: out; on hold" in get(made, "/").text, 10, "the lamp's words")
    many = hold_form(anna, made, "/attention") | {"nodes": "node[10-11]"}
    answer = anna.post(
        act, {**many, "do": "hold", "reason": "rack 7"}, headers=origin(made), timeout=30
    )
    assert (answer.url, "rack 7" in answer.text) == (f"{made.url}/attention", True)
    released = {**many, "nodes": "node[10-12]", "do": "release"}
    assert anna.post(act, released, headers=origin(made), timeout=30).ok
    assert "rack 7" not in get(made, "/attention").text
    notices = [notice_from(parse(body)) for _, body in made.site.drain(topology.AUDIT_QUEUE)]
    assert [(n.name, n.subject, n.details["by"], n.details["reason"]) for n in notices] == [
        ("hold.placed", "node12", "anna (console)", "disque à vérifier"),
        ("hold.placed", "node10", "anna (console)", "rack 7"),
        ("hold.placed", "node11", "anna (console)", "rack 7"),
        ("hold.released", "node10", "anna (console)", "rack 7"),
        ("hold.released", "node11", "anna (console)", "rack 7"),
        ("hold.released", "node12", "anna (console)", "disque à vérifier"),
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"do": "hold", "nodes": "node3"}, "needs a reason"),
        ({"do": "hold", "nodes": "node[3-", "reason": "x"}, "node[3-"),
        ({"do": "hold", "nodes": "stranger", "reason": "x"}, "stranger"),
        ({"do": "release", "nodes": "node3"}, "None of these nodes is on hold"),
        ({"do": "burn", "nodes": "node3"}, "hold or release"),
    ],
)
def test_a_wrong_hold_form_says_what_is_wrong_and_changes_nothing(
    made: ConsoleSite, anna: requests.Session, fields: dict[str, str], words: str
) -> None:
    form = hold_form(anna, made, "/nodes/node3") | fields
    answer = anna.post(f"{made.url}/holds", form, headers=origin(made), timeout=20)
    assert answer.status_code == 400
    problem = unescape(answer.text).partition("<main")[2]
    assert words in problem
    assert "on hold" not in get(made, "/nodes/node3").text


def test_holds_cannot_be_placed_without_a_form_of_ones_own(
    made: ConsoleSite, anna: requests.Session
) -> None:
    form = hold_form(anna, made, "/nodes/node3") | {"do": "hold", "reason": "x"}
    act = f"{made.url}/holds"
    for browser, headers, token in (
        (requests.Session(), origin(made), form["csrf"]),
        (anna, {"Origin": "https://evil.example"}, form["csrf"]),
        (anna, {}, form["csrf"]),
        (anna, origin(made), "0" * 64),
    ):
        answer = browser.post(act, {**form, "csrf": token}, headers=headers, timeout=20)
        assert answer.status_code == 403
    assert anna.get(act, timeout=20).status_code in {404, 405}, "a link cannot act"
    assert "on hold" not in get(made, "/nodes/node3").text
    assert '<form method="post" action="/holds"' not in get(made, "/nodes/node3").text


def test_attention_shows_holds_nodes_out_of_service_and_drift_with_links(made: ConsoleSite) -> None:
    now = time.time_ns()
    made.hold("node9", "rack 7")
    down = "DOWN+CLOUD+POWERED_DOWN"
    nodes = (
        SlurmNode("gpu1", down, "lamplighter quota: no room"),
        SlurmNode("gpu2", down, "lamplighter quota: no room"),
        SlurmNode("gpu3", "IDLE+DRAIN", HOSTILE),
        SlurmNode("gpu4", "IDLE+CLOUD"),
        SlurmNode("login", "DOWN", "not ours"),
    )
    cooling = NodeMemory("gpu1", 1, 1, Due.RETURN, now + 3600 * NS, "quota", "no room")
    made.out_of_service([cooling], Snapshot("test", now, CORRELATION, "controller", nodes))
    made.drift(
        [DriftMemory("gpu2", Drift.LEFT_DOWN, now - 700 * NS), DriftMemory("5e", Drift.STRAY, 1)]
    )
    page = unescape(get(made, "/attention").text)
    held, out, drift = page.partition('id="on-hold"')[2].split("<section")
    assert "rack 7" in held
    assert '<a href="/nodes/node9">node9</a>' in held
    assert re.search(rf"{re.escape(down)}: lamplighter quota: no room .*returns in", out)
    assert out.count("no room") == 2, "gpu1 returns, gpu2 does not"
    assert '<a href="/nodes/gpu3">gpu3</a>' in out
    assert "gpu4" not in out
    assert "login" not in out
    assert "left_down" in drift
    assert '<a href="/nodes/gpu2">gpu2</a>' in drift
    assert "stray" in drift
    for count, words in ((3, "out of service"), (2, "drift")):
        found = re.compile(rf'#{words.replace(" ", "-")}">{words}</a> <span class="end">{count}<')
        until(partial(shows, made, found), 10, words)
    made.drift([])


def test_a_page_tells_all_that_the_audit_knows_of_a_job_and_is_linked_to(
    made: ConsoleSite,
) -> None:
    at = time.time_ns() - 300 * NS
    lost, booted = (
        failed("gpu2", at + NS, message="no room"),
        resumed("node7", at + 20 * NS, jobs=(815,)),
    )
    lost = [replace(event, jobs=(WaitingJob(815),)) for event in lost]
    registered = Registration(CLUSTER, "node7", at // NS * NS + 50 * NS)
    made.record([*lost, *booted, registered, *ran("node7", 815, at)])
    page = unescape(get(made, "/jobs/815").text)
    assert "Waited 1 min 0 s, then ran; ended with COMPLETED." in " ".join(page.split())
    timer = "Slurm's timer</dt><dd>10.0 s from its last node's registration to its start</dd>"
    assert timer in page
    assert re.search(r"most of it</dt><dd>[0-9.]+ s (for|after|until) ", page), "as audit why"
    for words in ("f755f0", "vouws", "quota: no room", "booting", "job.started", "job.finished"):
        assert words in page
    for node, request in (("gpu2", lost[0].request_id), ("node7", booted[0].request_id)):
        assert f'<a href="/nodes/{node}">{node}</a>' in page
        assert f'href="/requests/{request}"' in page
        assert '<a href="/jobs/815">815</a>' in get(made, f"/requests/{request}").text
    assert '<a href="/jobs/815">815</a>' in get(made, "/events?job=815").text
    letter = command("gpu2", generation=time.time_ns(), jobs=(815,))
    made.site.publish([dead_letter(letter)])
    made.site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
    one = f"/dead-letters/{letter.id}"
    until(lambda: '<a href="/jobs/815">815</a>' in get(made, one).text, 10, "the letter's link")
    made.site.drain(topology.DEAD_LETTER_QUEUE)
    for unknown in ("9999", "0x1", "4711_3", "1" * 40, "-1"):
        assert get(made, f"/jobs/{unknown}").status_code == 404


def test_node_page_shows_slurms_state(made: ConsoleSite) -> None:
    node = SlurmNode("node14", "MIXED+CLOUD", jobs=(4711,))
    taken = Snapshot("test", time.time_ns(), CORRELATION, "controller", (node,))
    store = open_store(made.site.settings.store.url, "state")
    with store.begin() as connection:
        keep_snapshot(connection, taken)
    store.dispose()
    until(lambda: "node14: out; Slurm: MIXED+CLOUD" in get(made, "/").text, 10, "Slurm's state")
    page = get(made, "/nodes/node14").text
    job = '<a href="/jobs/4711">4711</a>'
    assert re.search(rf"<dt>Slurm</dt><dd>MIXED\+CLOUD, [0-9.]+ s ago; jobs {job}</dd>", page)
    assert "<dt>Slurm</dt>" not in get(made, "/nodes/node15").text


def test_request_page_shows_each_stage_and_its_duration(made: ConsoleSite) -> None:
    at = time.time_ns() - 40 * NS
    events = resumed("node5", at, seconds=30.0)
    made.record(events, now=at + 31 * NS)
    page = get(made, f"/requests/{events[0].request_id}").text
    rows = re.findall(
        r'<th scope="row">([a-z, ]+)</th>.*?<td class="n">([^<]+)</td>', page, re.DOTALL
    )
    assert rows == [
        ("hook, broker", "0.200 s"),
        ("worker", "0.400 s"),
        ("cloud", "29.4 s"),
        ("audit", "1.000 s"),
    ]
    assert get(made, "/requests/none").status_code == 404


def test_changes_are_streamed_and_a_page_too_far_behind_reloads(made: ConsoleSite) -> None:
    made.hold("node16", "its disk is odd")
    until(partial(shows, made, re.compile("node16: out; on hold")), 10, "the hold")
    page = get(made, "/").text
    number = re.search(r'data-live="(\d+)"', page)
    assert number
    with requests.get(f"{made.url}/live?since={number[1]}", stream=True, timeout=20) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        assert next(lines) == "retry: 2000"
        made.set_nodes({"node16": ("up", "ACTIVE")})
        changes = (json.loads(line[6:]) for line in lines if line.startswith("data: {"))
        lit = [15, "lit", "lit; on hold"]
        data = next(change for change in changes if lit in change["lamps"])
    assert "9 of 20 nodes lit" in data["parts"]["summary"]
    with requests.get(f"{made.url}/live?since=1", stream=True, timeout=20) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        assert "event: reload" in (next(lines), next(lines), next(lines), next(lines))


def test_without_a_broker_the_rest_is_shown_and_a_stopped_console_ends_its_streams(
    run_dir: Path,
) -> None:
    url = "amqp://nobody:x@127.0.0.1:1/none"
    with ExitStack() as watching:
        with console_site(run_dir / "site", url, {"a": "n[1-2]"}, broker_is_there=False) as lonely:
            lonely.set_nodes({"n1": ("up", "ACTIVE")})
            until(lambda: "1 of 2 nodes lit" in get(lonely, "/").text, 10, "the lamp")
            assert "the broker does not answer: start it" in get(lonely, "/").text
            assert get(lonely, "/dead-letters").status_code == 503
            assert "start a worker first" in get(lonely, "/events").text
            lonely.set_nodes({"stranger": ("up", "ACTIVE")})
            until(lambda: "stranger: lit" in get(lonely, "/").text, 10, "the node without a group")
            STORES.lose(lonely.site.folder / "state.db")
            until(
                lambda: "The state of the nodes is unknown" in get(lonely, "/").text,
                10,
                "the unknown state",
            )
            assert "stranger: unknown" in get(lonely, "/").text, "open pages keep their lamps"
            stream = requests.get(f"{lonely.url}/live?since=1", stream=True, timeout=20)
            watching.enter_context(stream)
            lines = stream.iter_lines(decode_unicode=True)
            assert "event: reload" in lines
        # leaving `console_site` checked the exit code of the console
        assert not any(line.startswith("event:") for line in lines), "the stream has ended"


def test_login_to_read_hides_every_page(run_dir: Path) -> None:
    (run_dir / "operators").touch(mode=0o600)
    (run_dir / "operators").write_text(f"anna sha256:{digest(TOKEN)}\n")
    lines = f'login_to_read = true\noperators_file = "{run_dir}/operators"\n'
    url = "amqp://nobody:x@127.0.0.1:1/none"
    with console_site(
        run_dir / "site", url, {"a": "secret[1-2]"}, lines, broker_is_there=False
    ) as shut:
        for path in PAGES:
            answer = get(shut, path)
            assert "secret1" not in answer.text
            assert answer.status_code == (200 if path == "/login" else 303), path
        assert get(shut, "/live?since=0").status_code == 403
        with requests.Session() as browser:
            login = {"token": TOKEN}
            answer = browser.post(f"{shut.url}/login", login, headers=origin(shut), timeout=20)
            assert "secret1" in answer.text


def test_trusted_proxy_names_the_user_only_with_its_address_and_secret(made: ConsoleSite) -> None:
    port = int(made.url.rpartition(":")[2])

    def page(source: str, *names: str, secrets: Sequence[str] = ("of the proxy",)) -> str:
        connection = HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
        with closing(connection):
            connection.putrequest("GET", "/dead-letters")
            for name in names:
                connection.putheader("X-Remote-User", name)
            for secret in secrets:
                connection.putheader("X-Lamplighter-Proxy", secret)
            connection.endheaders()
            return connection.getresponse().read().decode()

    assert "<span>zoe</span>" in page("127.0.0.2", "zoe")
    assert "<span>zoe</span>" not in page("127.0.0.1", "zoe")
    for wrong in ((), ("",), ("of the prox",), ("of the proxy", "of the proxy")):
        assert "<span>zoe</span>" not in page("127.0.0.2", "zoe", secrets=wrong)
    assert "<span>zoe</span>" not in page("127.0.0.2", "zoe", "root")
    assert (
        "<span>" not in page("127.0.0.2", "zoe</span><b>").partition("<main")[0].partition("who")[2]
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('listen = "0.0.0.0:8617"', "no user can log in"),
        ('listen = "everywhere"', "is not an address"),
        ('listen = "192.0.2.1:8617"\noperators_file = "ours"', "name an address of this host"),
        ('operators_file = "missing"', "lamplighter console operator NAME"),
        ('operators_file = "open"', "run chmod o-rwx"),
    ],
)
def test_unsafe_configuration_stops_the_console_with_the_remedy(
    site_folder: Path, lines: str, words: str
) -> None:
    site = Installation(site_folder, "amqp://x:y@127.0.0.1:1/x", more=f"[console]\n{lines}\n")
    (site_folder / "ours").touch(mode=0o600)
    (site_folder / "open").touch(mode=0o644)
    (site_folder / "open").chmod(0o644)
    result = site.lamplighter("console")
    assert result.code == 2
    assert words in result.err


def test_operator_token_is_printed_once_and_stored_as_a_digest(site_folder: Path) -> None:
    site = Installation(
        site_folder, "amqp://x:y@127.0.0.1:1/x", more='[console]\noperators_file = "operators"\n'
    )
    result = site.lamplighter("console", "operator", "bert")
    token = result.out.partition("logs in with: ")[2].split()[0]
    file = site_folder / "operators"
    assert file.read_text() == f"bert sha256:{digest(token)}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert site.lamplighter("console", "operator", "b b").code != 0


def test_half_sent_requests_and_anonymous_streams_do_not_keep_an_operator_out(
    made: ConsoleSite, anna: requests.Session
) -> None:
    """1,100 half-sent requests and 200 streams of nobody known: pages, login and streams still work."""
    port = int(made.url.rpartition(":")[2])
    with ExitStack() as held:
        for beginning in (b"GET / HTTP/1.1\r\nHost: 127.0.0.1", _half_form(port)):
            for _ in range(550):
                half = held.enter_context(
                    closing(socket.create_connection(("127.0.0.1", port), 20))
                )
                half.sendall(beginning)
        assert get(made, "/").status_code == 200
        for _ in range(200):
            stream = held.enter_context(closing(socket.create_connection(("127.0.0.1", port), 20)))
            head = f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
            stream.sendall(head.encode())
        assert get(made, "/").status_code == 200
        with anna.get(f"{made.url}/live?since=0", stream=True, timeout=20) as mine:
            lines = mine.iter_lines()
            assert next(lines) == b"retry: 2000"
            assert b"id: " in b"".join(islice(lines, 3))


def _half_form(port: int) -> bytes:
    lines = ("POST /login HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}")
    kind = "Content-Type: application/x-www-form-urlencoded"
    return "\r\n".join((*lines, kind, "Content-Length: 9", "", "tok")).encode()


def test_sessions_and_their_streams_end_with_a_logout_and_with_their_operator(
    made: ConsoleSite,
) -> None:
    """`console logout` and a removed line count in the running console at once."""
    operators = made.site.folder / "operators"
    before = operators.read_text()
    operators.write_text(f"{before}bert sha256:{digest('of bert')}\n")

    def logged_in(browser: requests.Session) -> bool:
        return "<span>bert</span>" in browser.get(f"{made.url}/dead-letters", timeout=20).text

    def log_in(browser: requests.Session) -> None:
        browser.post(f"{made.url}/login", {"token": "of bert"}, headers=origin(made), timeout=20)
        assert logged_in(browser)

    with requests.Session() as browser, requests.Session() as anna:
        anna.post(f"{made.url}/login", {"token": TOKEN}, headers=origin(made), timeout=20)
        for words in (("logout", "bert"), ("logout", "--all")):
            log_in(browser)
            with browser.get(f"{made.url}/live?since=0", stream=True, timeout=20) as stream:
                assert made.site.lamplighter("console", *words).code == 0
                assert not logged_in(browser)
                for _ in stream.iter_content(4096):  # ends, within the timeout
                    pass
            kept = "<span>anna</span>" in anna.get(f"{made.url}/dead-letters", timeout=20).text
            assert kept is (words[1] == "bert")
        log_in(browser)
        operators.write_text(before)
        assert not logged_in(browser)
    assert made.site.lamplighter("console", "logout").code == 2


@pytest.fixture
def site_folder(run_dir: Path) -> Path:
    return run_dir / "site"
