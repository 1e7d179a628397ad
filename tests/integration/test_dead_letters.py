"""The commands for dead letters on a real RabbitMQ: their output and their effects."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pika
import pytest
import sqlalchemy as sa

from producers.amqp import connection_parameters
from producers.message import Message
from schemas import headers
from schemas.commands import Kind, parse_command
from schemas.envelope import parse
from schemas.events import Cause, Transition, event_from
from schemas.notices import notice_from
from tests.testbed.installation import Installation
from tests.testbed.messages import MOMENT, command, dead_letter, event
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.stores import SQLITE, STORES
from tests.testbed.waiting import until
from workers.audit.log import append
from workers.audit.record import record_of
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.store.database import open_store
from workers.store.requests import fix_outcomes
from workers.store.tables import nodes

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.commands import PowerCommand
    from schemas.events import RequestEvent

HOSTILE = "\x1b]0;owned\x07[bold]x[/bold]\u202e"


CLOUDS = "".join(
    f"""
[clouds.{cloud}]
auth_url = "http://127.0.0.1:1/v3"
project_id = "p"
source = {{ type = "password", username = "u", password_file = "secret" }}
[groups.{group}]
nodes = "{group}[1-9]"
cloud = "{cloud}"
"""
    for group, cloud in (("cpu", "near"), ("gpu", "far"))
)


@pytest.fixture
def grouped_site(run_dir: Path, broker_url: str) -> Installation:
    """A site with two groups on two clouds."""
    made = Installation(run_dir / "site", broker_url, more=CLOUDS)
    made.prepare()
    return made


def audited(site: Installation) -> list[RequestEvent]:
    return [event_from(parse(body)) for _, body in site.drain(topology.AUDIT_QUEUE)]


def end(site: Installation, *events: RequestEvent) -> None:
    """Store these outcomes, as a worker does."""
    store = open_store(site.settings.store.url, "state")
    with store.begin() as connection:
        fix_outcomes(connection, "test", events)
    store.dispose()


def give_up(site: Installation, request: PowerCommand) -> None:
    """Let the broker give up a command, as its delivery limit does."""
    site.publish(
        [
            Message(
                topology.COMMANDS,
                request.kind.routing_key,
                request.to_envelope().to_json(),
                request.id,
            )
        ]
    )
    with blocking_channel(connection_parameters(site.settings.broker, "test refusal")) as channel:
        until(lambda: channel.basic_get(topology.RESUME_QUEUE)[0], 10.0, "the command")
        channel.basic_reject(1, requeue=False)
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)


def test_list_applies_filters_and_returns_all_letters_to_the_queue(site: Installation) -> None:
    one, two = command("node1", jobs=(1,)), command("node2", jobs=(2,), kind=Kind.SUSPEND)
    malformed = Message(topology.DEAD_LETTERS, "node.resume.requested", b"{", "x")
    site.publish([dead_letter(one), dead_letter(two, cause="forbidden"), malformed])

    def listed(*arguments: str) -> list[str]:
        result = site.lamplighter("dead-letters", "list", "--json", *arguments)
        assert result.code == 0, result.err
        return [line.get("node", "malformed") for line in result.lines]

    assert listed() == ["malformed", "node1", "node2"]
    assert listed("--node", "node[2-3]") == ["node2"]
    assert listed("--cause", "quota") == ["node1"]
    assert listed("--queue", "power.suspend") == ["node2"]
    assert listed("--job", "1") == ["node1"]
    assert listed("--older-than", "1h") == ["node1", "node2"]
    assert listed("--older-than", "1h", "--cause", "malformed") == []
    assert listed(two.id[:23], "--node", "node2") == ["node2"]
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 3)
    table = site.lamplighter("dead-letters", "list").out
    assert "1 of forbidden" in table


def test_group_and_cloud_come_from_the_configuration(grouped_site: Installation) -> None:
    site = grouped_site
    site.publish([dead_letter(command(node)) for node in ("cpu1", "gpu1", "stranger")])
    site.publish([Message(topology.DEAD_LETTERS, "node.resume.requested", b"{", "x")])

    def listed(*arguments: str) -> list[str]:
        result = site.lamplighter("dead-letters", "list", "--json", *arguments)
        assert result.code == 0, result.err
        return [line.get("node", "malformed") for line in result.lines]

    assert listed("--group", "cpu") == ["cpu1"]
    assert listed("--cloud", "far") == ["gpu1"]
    assert listed("--cloud", "far", "--node", "cpu1") == []
    assert listed("--younger-than", "1h") == []
    wrong = site.lamplighter("dead-letters", "list", "--group", "nothing")
    assert (wrong.code, "[groups.nothing]" in wrong.err) == (2, True)
    groups = site.lamplighter("dead-letters", "list", "--json", "--by", "cloud").lines
    assert {(g["group"], g["letters"]) for g in groups} == {
        *(("near", 1), ("far", 1), ("in no group", 1), ("malformed", 1))
    }


def test_many_letters_of_one_outage_are_one_line(site: Installation) -> None:
    site.publish(
        [
            dead_letter(
                command(f"node{i}", jobs=(i,)),
                more={headers.CAUSE_MESSAGE: f"no room on host{i} for {i:032x}"},
            )
            for i in range(1, 41)
        ]
    )
    site.publish([dead_letter(command("odd"), cause="forbidden")])
    result = site.lamplighter("dead-letters", "list")
    (line,) = (line for line in result.out.splitlines() if "quota" in line)
    assert "40" in line
    assert "node[1-40]" in line
    each = site.lamplighter("dead-letters", "list", "--by", "letter", "--limit", "2").out
    assert "... and 39 more" in each


def test_an_id_of_no_letter_is_an_error_of_every_command_and_nothing_is_done(
    site: Installation, tmp_path: Path
) -> None:
    """A mistyped id beside a right one, too: else it is taken for done."""
    request = command("node1")
    site.publish([dead_letter(request)])
    for words in (
        ("replay", "--yes"),
        ("replay", "--dry-run"),
        ("discard", "--reason", "r"),
        ("discard", "--reason", "r", "--yes"),
        ("list",),
        ("export", str(tmp_path / "file")),
    ):
        for ids in (("nope",), (request.id, "nope")):
            result = site.lamplighter("dead-letters", *words, *ids)
            assert result.code == 1, words
            assert "'nope' is not the id of a dead letter" in result.err
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)


def test_before_a_replay_many_letters_are_shown_by_cause(site: Installation) -> None:
    site.publish([dead_letter(command(f"node{i}")) for i in range(1, 31)])
    result = site.answered("n", "dead-letters", "replay", "--message", "NO ROOM")
    assert result.code == 1
    (line,) = (line for line in result.out.splitlines() if "quota" in line)
    assert "30" in line
    assert "node[1-30]" in line
    assert "replay 30 dead letters? [y/N]" in result.err
    nothing = site.lamplighter("dead-letters", "replay", "--message", "something else")
    assert (nothing.code, nothing.out.splitlines()[-1]) == (0, "no dead letters")
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 30)


def test_export_writes_whole_letters_and_keeps_them_in_the_queue(site: Installation) -> None:
    body = b"\xff\x00"
    site.publish(
        [
            dead_letter(command()),
            Message(topology.DEAD_LETTERS, "node.resume.requested", body, "x"),
        ]
    )
    file = site.folder / "letters.jsonl"
    result = site.lamplighter("dead-letters", "export", str(file), "--cause", "malformed")
    assert result.code == 0, result.err
    (line,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert base64.b64decode(line["body_base64"]) == body
    assert file.stat().st_mode & 0o077 == 0
    again = site.lamplighter("dead-letters", "export", str(file))
    assert (again.code, "exists" in again.err) == (2, True)
    assert len(site.lamplighter("dead-letters", "export", "-").lines) == 2
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 2)


def test_a_restamp_sends_a_new_request_and_discards_the_old_one(site: Installation) -> None:
    site.make_hook_folders()
    request = command("node1", jobs=(4711, 4712))
    malformed = Message(topology.DEAD_LETTERS, "node.resume.requested", b"{", "x")
    site.publish([dead_letter(request), malformed])
    argv = ("dead-letters", "replay", "--restamp", "--all", "--yes", "--reason", "needed now")
    result = site.lamplighter(*argv, "--json")
    assert result.code == 1, result.err  # the malformed one is refused, and stays
    assert {line["done"] for line in result.lines} == {"restamped", "refused"}
    ((given, body),) = site.drain(topology.RESUME_QUEUE)
    new = parse_command(body)
    assert given.get(headers.ROUND) is None
    assert new.generation > request.generation
    assert (new.node, new.kind, new.jobs) == (request.node, request.kind, request.jobs)
    assert new.expiry is None
    assert request.id in (new.note or "")
    assert "needed now" in (new.note or "")
    (ended,) = audited(site)
    assert (ended.transition, ended.request_id) == (Transition.DISCARDED, request.id)
    assert (ended.restamped, ended.reason) == (new.generation, "needed now")
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)


def test_the_rate_limit_is_not_exceeded(site: Installation) -> None:
    site.publish([dead_letter(command(f"node{i}")) for i in range(6)])
    begun = time.monotonic()
    result = site.lamplighter("dead-letters", "replay", "--all", "--yes", "--rate", "5")
    assert (result.code, "6 replayed" in result.out) == (0, True)
    assert time.monotonic() - begun >= 1.0


def test_a_terminal_shows_a_progress_bar_for_a_long_replay(site: Installation) -> None:
    site.publish([dead_letter(command(f"node{i}")) for i in range(60)])
    parent, child = pty.openpty()
    try:
        done = subprocess.run(
            site.argv("dead-letters", "replay", "--all", "--yes"),
            env={**MINIMAL_ENVIRONMENT, "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=child,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(parent, 1_000_000).decode())
    finally:
        os.close(parent)
        os.close(child)
    assert done.returncode == 0, done.stderr
    assert "60/60 dead letters" in shown
    assert "60 replayed" in shown
    assert "node59" not in shown, "the bar replaces the lines"


def test_show_prints_staleness_attempts_and_sources_without_answer(site: Installation) -> None:
    request = command()
    newer = command(kind=Kind.SUSPEND, generation=request.generation + 10**9)
    store = open_store(site.settings.store.url, "state")
    with store.begin() as connection:
        row = {"desired": "down", "generation": newer.generation, "request_id": newer.id}
        connection.execute(sa.insert(nodes).values(cluster="test", node="node1", **row))
    store.dispose()
    audit = open_store(site.settings.store.audit_url, "audit")
    steps = [
        replace(event(Transition.RETRIED, request, time=MOMENT + i * 10**9), attempt=i, cause=cause)
        for i, cause in ((1, Cause("server_side", "HTTP 500: oops")), (2, Cause("quota", "full")))
    ]
    append(audit, [record_of(step.to_envelope().to_json(), "test", MOMENT) for step in steps])
    audit.dispose()
    site.publish([dead_letter(request)])
    result = site.lamplighter("dead-letters", "show", request.id)
    assert result.code == 0, result.err
    for fact in ("stale", "wants node1 down", "server_side: HTTP 500: oops", "quota: full"):
        assert fact in result.out
    dry = site.lamplighter("dead-letters", "replay", "--all", "--dry-run")
    assert "1 are stale" in dry.out
    STORES.lose(site.folder / "audit.db")
    broken = site.lamplighter("dead-letters", "show", request.id)
    assert (broken.code, "no answer  from the audit log" in broken.out) == (0, True)
    assert "attempt 1" in broken.out


def test_stale_letters_are_marked_and_ended_together(grouped_site: Installation) -> None:
    site = grouped_site
    stale, fresh = command("cpu1"), command("gpu1")
    site.publish([dead_letter(stale), dead_letter(fresh)])
    store = open_store(site.settings.store.url, "state")
    with store.begin() as connection:
        row = {"desired": "down", "generation": stale.generation + 1, "request_id": "r"}
        connection.execute(sa.insert(nodes).values(cluster="test", node="cpu1", **row))
    store.dispose()
    shown = site.lamplighter("dead-letters", "list").out
    (line,) = [line for line in shown.splitlines() if "STALE" in line]
    assert "cpu1" in line
    assert "1 are stale" in shown
    marks = site.lamplighter("dead-letters", "list", "--json").lines
    assert {mark["node"]: mark["stale"] for mark in marks} == {"cpu1": True, "gpu1": False}
    ended = site.lamplighter("dead-letters", "discard", "--stale", "--reason", "old", "--yes")
    assert (ended.code, "1 discarded" in ended.out) == (0, True)
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
    none = site.lamplighter("dead-letters", "discard", "--stale", "--reason", "old")
    assert (none.code, none.out) == (0, "no dead letters\n")
    STORES.lose(site.folder / "state.db")
    unknown = site.lamplighter("dead-letters", "discard", "--stale", "--reason", "old", "--yes")
    why = "store.url: " if STORES.kind == SQLITE else "ALLOW_CONNECTIONS"
    assert (unknown.code, why in unknown.err) == (3, True)


def test_without_a_terminal_a_question_is_refused_with_its_remedy(site: Installation) -> None:
    site.publish([dead_letter(command(f"node{i}")) for i in range(3)])
    for verb in (("replay",), ("discard", "--reason", "x")):
        for piped in ("", "y\n", "yes\n"):  # no person has seen the question
            refused = site.lamplighter("dead-letters", *verb, "--all", typed=piped)
            assert (refused.code, "repeat the command with --yes" in refused.err) == (2, True)
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 3)


def test_the_beginning_of_an_id_names_one_letter_or_is_an_error_that_lists(
    site: Installation,
) -> None:
    one, two = command("node1"), command("node2")
    site.publish([dead_letter(one), dead_letter(two)])
    shown = site.lamplighter("dead-letters", "list").out
    for request in (one, two):
        (short,) = {word for word in shown.split() if request.id.startswith(word)}
        assert len(short) < len(request.id)
        assert request.node in site.lamplighter("dead-letters", "show", short).out
    for words in (("show",), ("list",), ("replay", "--yes"), ("discard", "--reason", "x")):
        result = site.lamplighter("dead-letters", *words, one.id[:8])
        assert result.code == 1
        assert f"'{one.id[:8]}' is the beginning of 2 ids: " in result.err
        assert one.id in result.err
        assert two.id in result.err
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 2)


def test_the_content_of_a_letter_cannot_control_the_terminal(site: Installation) -> None:
    request = command("node1")
    letter = dead_letter(request, more={headers.CAUSE_MESSAGE: HOSTILE, headers.CAUSE: HOSTILE})
    site.publish([letter])
    for arguments in (
        ("list",),
        ("list", "--json"),
        ("show", request.id),
        ("show", "--json", request.id[:4]),
    ):
        result = site.lamplighter("dead-letters", *arguments)
        assert result.code == 0, result.err
        assert all(char.isprintable() or char == "\n" for char in result.out)
        assert "bold]x" in result.out


def test_replay_returns_a_letter_to_its_queue_with_the_same_id_and_body(site: Installation) -> None:
    request = command("node1", kind=Kind.SUSPEND)
    site.publish([dead_letter(request, round_=2)])
    result = site.lamplighter("dead-letters", "replay", request.id, "--reason", "quota was raised")
    assert result.code == 0, result.err
    ((given, body),) = site.drain(topology.SUSPEND_QUEUE)
    assert body == request.to_envelope().to_json()
    assert (given[headers.ROUND], given[headers.ATTEMPT], given[headers.ERRORS]) == (3, 0, "[]")
    (replayed,) = audited(site)
    assert (replayed.transition, replayed.round) == (Transition.REPLAYED, 3)
    assert replayed.request_id == request.id
    assert replayed.reason == "quota was raised"
    assert replayed.by
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0


def test_discard_ends_a_new_round_once(site: Installation) -> None:
    request = command()
    site.publish([dead_letter(request), dead_letter(request)])
    result = site.lamplighter("dead-letters", "discard", request.id, "--reason", "gone", "--yes")
    assert result.code == 0, result.err
    outcomes = audited(site)
    assert {(e.transition, e.round, e.id) for e in outcomes} == {
        (Transition.DISCARDED, 2, event(Transition.DISCARDED, request, round_=2).id)
    }
    assert len({e.to_envelope().to_json() for e in outcomes}) == 1
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
    assert site.depth(topology.RESUME_QUEUE) == 0


def test_a_letter_that_was_replayed_already_is_dropped_and_its_outcome_kept(
    site: Installation,
) -> None:
    request = command()
    end(
        site,
        event(Transition.FAILED, request),
        event(Transition.COMPLETED, request, round_=2, time=MOMENT + 5 * 10**9),
    )
    for verb in ("replay", "discard"):
        site.publish([dead_letter(request)])
        reason = ("--reason", "x")
        result = site.lamplighter("dead-letters", verb, request.id, *reason, "--json")
        (line,) = result.lines
        assert (result.code, line["done"]) == (0, "dropped")
        assert line["why"] == "the request is completed already"
        # only the power worker says that a request is completed
        assert audited(site) == []
        assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
    assert site.depth(topology.RESUME_QUEUE) == 0


def test_a_round_that_the_broker_ended_gets_its_outcome_before_the_next_round(
    site: Installation,
) -> None:
    request = command()
    give_up(site, request)
    (line,) = site.lamplighter("dead-letters", "list", "--json").lines
    assert (line["by_broker"], line["cause"]) == (True, "broker_rejected")
    assert (line["died_in"], line["round"]) == (topology.RESUME_QUEUE, 1)
    assert line["died_at"] is not None
    assert site.lamplighter("dead-letters", "replay", request.id).code == 0
    steps = [(e.transition, e.round) for e in audited(site)]
    assert steps == [(Transition.FAILED, 1), (Transition.REPLAYED, 2)]


def test_a_malformed_letter_can_be_exported_and_discarded_but_not_replayed(
    site: Installation,
) -> None:
    body = b"\xff\x00not json"
    site.publish([Message(topology.DEAD_LETTERS, "node.resume.requested", body, "x")])
    out = site.folder / "body"
    result = site.lamplighter("dead-letters", "show", "sha256:", "--raw", str(out))
    assert result.code == 0, result.err
    assert "not JSON" in result.out
    assert out.read_bytes() == body
    refused = site.lamplighter("dead-letters", "replay", "--all", "--yes")
    assert (refused.code, "refused" in refused.out) == (1, True)
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
    result = site.lamplighter("dead-letters", "discard", "sha256:", "--reason", "noise", "--yes")
    assert result.code == 0, result.err
    ((_, event_body),) = site.drain(topology.AUDIT_QUEUE)
    notice = notice_from(parse(event_body))
    assert notice.name == "message.discarded"
    assert notice.details["reason"] == "noise"
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0


def test_bulk_actions_need_confirmation_and_a_dry_run_changes_nothing(site: Installation) -> None:
    site.publish([dead_letter(command(f"node{i}")) for i in range(3)])
    nothing_named = site.lamplighter("dead-letters", "replay")
    assert (nothing_named.code, "--all" in nothing_named.err) == (2, True)
    dry = site.lamplighter("dead-letters", "replay", "--all", "--dry-run")
    assert (dry.code, "would replay: 3 dead letters" in dry.out) == (0, True)
    no = site.answered("n", "dead-letters", "replay", "--node", "node[0-2]")
    assert no.code == 1
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 3)
    assert site.depth(topology.AUDIT_QUEUE) == 0
    yes = site.answered("y", "dead-letters", "replay", "--node", "node[0-1]")
    assert (yes.code, "2 replayed" in yes.out) == (0, True)
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)


def test_one_letter_is_confirmed_unless_it_was_named_by_id(site: Installation) -> None:
    """`--all` or a filter may match another letter than the operator has in mind."""
    request = command("node1")
    site.publish([dead_letter(request)])
    for chosen in (("--all",), ("--node", "node1"), ("--cause", "quota")):
        refused = site.lamplighter("dead-letters", "discard", *chosen, "--reason", "r")
        assert (refused.code != 0, "--yes" in refused.err) == (True, True), chosen
        site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
    named = site.lamplighter("dead-letters", "discard", request.id, "--reason", "r")
    assert (named.code, "1 discarded" in named.out) == (0, True)


def test_a_replay_that_reaches_no_queue_is_refused_and_the_letter_stays(site: Installation) -> None:
    request = command()
    site.publish([dead_letter(request)])
    with blocking_channel(connection_parameters(site.settings.broker, "test")) as channel:
        channel.queue_unbind(
            queue=topology.RESUME_QUEUE,
            exchange=topology.REQUEUE,
            routing_key=request.kind.routing_key,
        )
    result = site.lamplighter("dead-letters", "replay", request.id, "--json")
    assert (result.code, result.lines[0]["done"]) == (1, "refused")
    assert "no queue" in result.lines[0]["why"]
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)


def test_show_prints_the_effect_of_a_replay(site: Installation) -> None:
    request = command()
    site.publish([dead_letter(request)])
    result = site.lamplighter("dead-letters", "show", request.id)
    for fact in ("resume of node1", "4711", "quota: no room left", "attempt 1", "brought up"):
        assert fact in result.out
    (line,) = site.lamplighter("dead-letters", "show", request.id, "--json").lines
    assert (line["jobs"], line["stale"]) == ([4711], False)
    assert site.lamplighter("dead-letters", "show", "nothing").code == 1


def test_foreign_letters_survive_repeated_listing(site: Installation) -> None:
    site.publish([dead_letter(command())])
    for _ in range(3):
        assert len(site.lamplighter("dead-letters", "list", "--json").lines) == 1
    properties = pika.BasicProperties(headers={headers.ROUND: "many", "x-death": "no list"})
    with blocking_channel(connection_parameters(site.settings.broker, "test")) as channel:
        channel.basic_publish(topology.DEAD_LETTERS, "k", b"{}", properties)
    site.wait_depth(topology.DEAD_LETTER_QUEUE, 2)
    assert len(site.lamplighter("dead-letters", "list", "--json").lines) == 2


def test_a_real_worker_fails_a_replayed_request_in_a_round_of_its_own(site: Installation) -> None:
    request = command(generation=time.time_ns())
    sent = Message(
        topology.COMMANDS, request.kind.routing_key, request.to_envelope().to_json(), request.id
    )
    with site.start("up", "--only", "power", "--only", "audit"):
        # the installation has no such node, so no attempt is possible
        site.publish([sent])
        site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
        for round_ in (1, 2):
            (line,) = site.lamplighter("dead-letters", "list", "--json").lines
            assert (line["id"], line["cause"], line["round"]) == (
                request.id,
                "unknown_node",
                round_,
            )
            if round_ == 1:
                assert site.lamplighter("dead-letters", "replay", request.id).code == 0
                until(lambda: round_of_the_letter(site) == 2, 20.0, "the letter of round 2")
        result = site.lamplighter("dead-letters", "discard", request.id, "--reason", "no such node")
        assert result.code == 0, result.err
        until(
            lambda: site.lamplighter("audit", "list", "--json", "--outcome", "discarded").lines,
            20.0,
            "the audit",
        )
        steps = [
            (line["transition"], line["round"])
            for line in site.lamplighter("audit", "list", "--json", "--request", request.id).lines
        ]
    assert set(steps) >= {("failed", 1), ("replayed", 2), ("failed", 2), ("discarded", 3)}
    assert len(steps) == len(set(steps))
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0


def round_of_the_letter(site: Installation) -> int | None:
    lines = site.lamplighter("dead-letters", "list", "--json").lines
    return lines[0]["round"] if len(lines) == 1 else None
