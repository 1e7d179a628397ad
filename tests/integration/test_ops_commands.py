"""The command line on a real RabbitMQ: topology, status, audit, errors, and `up`."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest
import requests
import sqlalchemy as sa

from producers.amqp import connection_parameters
from schemas.events import Cause, Transition
from tests.testbed.installation import Installation
from tests.testbed.messages import command, event
from tests.testbed.ports import Ports
from tests.testbed.waiting import until
from workers.audit.log import append
from workers.audit.record import record_of
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.slurm.node_memory import Due, NodeMemory, remember
from workers.store.database import open_store
from workers.store.tables import nodes, workers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.broker import Broker

# On SQLite: the URLs are wrong, or the file's folder is missing.

HOSTILE = "\x1b]0;owned\x07[red]\u202e\x7f"


@pytest.fixture
def managed(run_dir: Path, broker: Broker, broker_url: str) -> Installation:
    """A site whose operator can use the management API; the topology is not created yet."""
    return Installation(
        run_dir / "site", broker_url, broker=f'management_url = "{broker.management_url}"'
    )


def test_topology_show_apply_and_check_agree(managed: Installation) -> None:
    shown = managed.lamplighter("topology", "show", "--json")
    assert {q["name"] for q in json.loads(shown.out)["queues"]} == {
        queue.name for queue in topology.topology().queues
    }
    before = managed.lamplighter("topology", "check")
    assert before.code == 1
    assert "queue power.dlq: missing" in before.out
    for _ in range(2):
        assert managed.lamplighter("topology", "apply").code == 0
    after = managed.lamplighter("topology", "check")
    assert (after.code, "no differences" in after.out) == (0, True)


def test_check_names_every_difference(managed: Installation) -> None:
    with blocking_channel(connection_parameters(managed.settings.broker, "test")) as channel:
        channel.exchange_declare(exchange=topology.TOKENS, exchange_type="direct", durable=False)
        channel.queue_declare(
            queue=topology.NOTIFY_QUEUE,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-max-length": 5},
        )
        channel.exchange_declare(exchange=topology.COMMANDS, exchange_type="topic", durable=True)
        channel.queue_declare(queue="catch-all")
        channel.queue_bind(exchange=topology.COMMANDS, queue="catch-all", routing_key="#")
    result = managed.lamplighter("topology", "check")
    assert result.code == 1
    for line in (
        "exchange tokens: is not durable",
        "queue notify: x-max-length is 5, should be 100000",
        "queue notify: x-overflow is None, should be drop-head",
        "binding power.commands -> catch-all by '#': should not be there",
        "binding power.dlx -> power.dlq by '#': missing",
    ):
        assert line in result.out


def test_check_without_the_management_api_checks_existence_only(site: Installation) -> None:
    result = site.lamplighter("topology", "check")
    assert (result.code, "existence only" in result.out) == (0, True)
    with blocking_channel(connection_parameters(site.settings.broker, "test")) as channel:
        channel.queue_delete(queue=topology.NOTIFY_QUEUE)
    result = site.lamplighter("topology", "check")
    assert (result.code, "queue notify: missing" in result.out) == (1, True)


def test_status_shows_workers_queues_and_nodes(site: Installation) -> None:
    store = open_store(site.settings.store.url, "state")
    now = time.time_ns()
    row = {"cluster": "test", "desired": "up", "generation": 1, "request_id": "r"}
    with store.begin() as connection:
        connection.execute(
            sa.insert(nodes),
            [{**row, "node": f"node{i}", "observed": "ACTIVE"} for i in (1, 2, 3)]
            + [{**row, "node": "node9", "desired": "down", "observed": None}],
        )
        connection.execute(
            sa.insert(workers).values(
                cluster="test",
                name=HOSTILE,
                role="power",
                host="h",
                pid=1,
                started_at=now - 3600 * 10**9,
                seen_at=now - 60 * 10**9,
                state="fine",
            )
        )
        out = [
            NodeMemory(name, 1, 2, Due.RETURN, now + 90 * 10**9, "quota", "lamplighter: quota", now)
            for name in ("node7", "node8")
        ]
        remember(connection, "test", out)
        remember(connection, "other", [replace(out[0], node="elsewhere")])
    store.dispose()
    result = site.lamplighter("status")
    assert result.code == 1, result.err
    assert result.out.splitlines()[-1].startswith(
        "WRONG: workers not running: audit, power, tokens"
    )
    assert all(char.isprintable() or char == "\n" for char in result.out)
    for fact in ("SILENT", "node[1-3]", "power.dlq", "[red]", "1 h 0 min", "node[7-8]"):
        assert fact in result.out
    status = json.loads(site.lamplighter("status", "--json").out)
    assert status["nodes"] == [
        {"desired": "down", "observed": None, "count": 1, "names": "node9"},
        {"desired": "up", "observed": "ACTIVE", "count": 3, "names": "node[1-3]"},
    ]
    (group,) = status["out_of_service"]
    assert (group["names"], group["reason"], group["failures"]) == (
        "node[7-8]",
        "lamplighter: quota",
        2,
    )
    assert 60 < group["returns_in_seconds"] <= 90
    assert {q["name"]: (q["ready"], q["consumers"]) for q in status["queues"]}["audit"] == (0, 0)
    assert status["workers"][0]["silent_seconds"] >= 60
    assert {one["finding"] for one in status["findings"]} == {
        *("workers_missing", "worker_silent", "nodes_failed", "one_broker_user")
    }


def test_audit_commands_escape_their_output_and_show_the_whole_request(site: Installation) -> None:
    request = command()
    events = [
        event(Transition.ACCEPTED, request),
        event(Transition.FAILED, request, cause=Cause(HOSTILE, HOSTILE)),
    ]
    log = open_store(site.settings.store.audit_url, "audit")
    append(log, [record_of(e.to_envelope().to_json(), "test", time.time_ns()) for e in events])
    log.dispose()
    for arguments in (
        ("list", "--node", "node[1-5]", "--since", "2026-01-01", "--outcome", "failed"),
        ("list", "--json"),
        ("show", request.id),
        ("show", request.id, "--json"),
    ):
        result = site.lamplighter("audit", *arguments)
        assert result.code == 0, result.err
        assert all(char.isprintable() or char == "\n" for char in result.out)
        assert "owned" in result.out
    story = site.lamplighter("audit", "show", request.id).out
    assert [word for word in ("asked", "accepted", "failed") if word in story] == [
        "asked",
        "accepted",
        "failed",
    ]
    assert site.lamplighter("audit", "show", "unknown").code == 1


COMMANDS = [
    ("topology", "apply"),
    ("topology", "check"),
    ("dead-letters", "list"),
    ("dead-letters", "replay", "--all", "--yes"),
    ("audit", "list"),
    ("report",),
    ("status",),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_broker_and_stores_every_command_fails_with_one_line(
    run_dir: Path, arguments: tuple[str, ...]
) -> None:
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v")
    result = site.lamplighter(*arguments)
    assert result.code == 3
    lines = result.err.strip().splitlines()
    assert len(lines) == (2 if arguments == ("status",) else 1)
    assert all(line.startswith("lamplighter: ") for line in lines)
    assert "secret" not in result.err + result.out


@pytest.mark.parametrize(
    "arguments", [*COMMANDS, ("up",), ("worker", "audit"), ("relay",), ("console",)], ids=" ".join
)
def test_an_invalid_configuration_is_reported_in_one_line_with_the_field(
    run_dir: Path, arguments: tuple[str, ...]
) -> None:
    site = Installation(run_dir / "site", "http://me:secret@host/v")
    result = site.lamplighter(*arguments)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 1
    assert "broker.url" in result.err
    assert "secret" not in result.err


@pytest.mark.parametrize("url", ["nonsense", "oracel://me:secret@host/db"])
def test_an_invalid_store_url_is_reported_in_one_line(run_dir: Path, url: str) -> None:
    site = Installation(
        run_dir / "site", "amqps://h/v", store=f'url = "{url}"\naudit_url = "{url}"'
    )
    for arguments in (("audit", "list"), ("worker", "audit")):
        result = site.lamplighter(*arguments)
        assert result.code == 2
        assert "store: url must begin with sqlite:///" in result.err.strip().splitlines()[-1]
        assert "Traceback" not in result.err
        assert "secret" not in result.err


def test_a_store_in_a_directory_with_special_characters_is_found(run_dir: Path) -> None:
    site = Installation(run_dir / "a folder #1", "amqps://h/v")
    open_store(site.settings.store.audit_url, "audit").dispose()
    result = site.lamplighter("audit", "list", "--json")
    assert (result.code, result.err) == (0, "")


def test_an_unknown_host_is_reported_in_one_line(run_dir: Path) -> None:
    site = Installation(run_dir / "site", "amqps://nowhere.invalid/v", broker="users = {}")
    assert site.lamplighter("broker", "users", "--passwords").code == 0
    result = site.lamplighter("topology", "apply")
    assert (result.code, len(result.err.splitlines())) == (3, 1)


def test_status_says_which_calls_wait_in_the_spool_and_since_when(site: Installation) -> None:
    open_store(site.settings.store.url, "state").dispose()
    folder = site.settings.hook.spool
    folder.mkdir(exist_ok=True)
    (folder / f"{time.time_ns():020d}-b.call").touch()
    assert " 1 call waits in " in site.lamplighter("status").out
    (folder / f"{time.time_ns() - 3 * 60 * 10**9:020d}-a.call").touch()
    with blocking_channel(connection_parameters(site.settings.broker, "test")) as channel:
        for queue in (topology.RESUME_QUEUE, topology.SUSPEND_QUEUE, "token.rpc", "audit"):
            channel.basic_consume(queue, lambda *_: None)  # as the workers do
        shown = site.lamplighter("status")
    assert shown.code == 1
    assert shown.out.splitlines()[-1].startswith(f"WRONG: 2 calls wait in {folder} for the broker,")
    assert "the oldest for 3 min" in shown.out
    (spool,) = json.loads(site.lamplighter("status", "--json").out)["spools"]
    assert (spool["calls"], spool["set_aside"], spool["problem"]) == (2, 0, None)
    assert spool["oldest_seconds"] >= 180


def test_status_says_that_one_user_serves_all_roles(site: Installation) -> None:
    shown = site.lamplighter("status")
    assert "one broker user for all roles" in shown.out
    (line,) = site.lamplighter("status", "--json").lines
    assert "one_broker_user" in {found["finding"] for found in line["findings"]}


def test_one_user_for_all_is_refused_at_another_host(run_dir: Path) -> None:
    """Not even tried: its password would be everybody's, and would cross the network."""
    site = Installation(run_dir / "site", "amqps://all:secret@nowhere.invalid/v")
    result = site.lamplighter("topology", "check")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "one user for all roles is allowed on loopback only" in result.err
    assert "secret" not in result.err


def test_a_wrong_password_is_reported_as_a_refused_login(
    run_dir: Path, broker: Broker, vhost: str
) -> None:
    broker.add_user("someone", "right", vhost)
    url = broker.amqp_url(vhost).replace(broker.admin.password, "wrong")
    result = Installation(run_dir / "site", url).lamplighter("topology", "apply")
    assert result.code == 3
    assert "refused the login" in result.err


def test_up_restarts_a_killed_worker_and_ends_all_workers(site: Installation) -> None:
    with site.start("up", "--only", "audit", "--only", "relay") as up:

        def running() -> set[int]:
            return {child.pid for child in psutil.Process(up.pid).children()}

        first = until(lambda: pids if len(pids := running()) == 2 else None, 20.0, "two workers")
        until(lambda: consumers(site) == 1, 20.0, "the audit worker")
        os.kill(min(first), signal.SIGKILL)
        until(lambda: len(running() - first) == 1, 20.0, "a new worker")
        assert up.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in first)


def test_workers_end_when_their_supervisor_is_killed(site: Installation) -> None:
    with site.start("up", "--only", "audit") as up:
        until(lambda: consumers(site) == 1, 20.0, "the audit worker")
        (worker,) = psutil.Process(up.pid).children()
        up.send(signal.SIGKILL)
        # it receives SIGTERM, and shuts down normally
        until(lambda: not worker.is_running(), 20.0, "the end of the worker")
        until(lambda: consumers(site) == 0, 20.0, "no consumer")
        assert "worker_stopped" in up.log.read_text()


def test_up_with_console_runs_the_console_until_its_supervisor_ends(
    run_dir: Path, broker_url: str
) -> None:
    with Ports() as ports:
        address = f"127.0.0.1:{ports.take()}"
        site = Installation(run_dir / "site", broker_url, more=f'[console]\nlisten = "{address}"\n')
        site.prepare()
        with site.start("up", "--only", "audit", "--console") as up:
            page = until(lambda: page_of(address), 20.0, "the console")
            assert "test" in page
            (console,) = (
                child
                for child in psutil.Process(up.pid).children()
                if child.cmdline()[0].endswith(" console")
            )
            up.send(signal.SIGKILL)
            until(lambda: not console.is_running(), 20.0, "the end of the console")


def page_of(address: str) -> str | None:
    try:
        return requests.get(f"http://{address}/", timeout=5).text
    except requests.ConnectionError:
        return None


def consumers(site: Installation) -> int:
    status = json.loads(site.lamplighter("status", "--json").out)
    found: int = {q["name"]: q["consumers"] for q in status["queues"]}[topology.AUDIT_QUEUE]
    return found


def test_up_says_once_why_a_worker_cannot_start(run_dir: Path) -> None:
    """A missing folder: the line names the setting, the path and the remedy."""
    site = Installation(
        run_dir / "site", "amqp://x:y@127.0.0.1:1/v", store='url = "sqlite:///no/s.db"'
    )
    with site.start("up", "--only", "audit"):
        until(lambda: "process_ended" in site.logs(), 20.0, "the end of the worker")
        (ended,) = (
            json.loads(line) for line in site.logs().splitlines() if "process_ended" in line
        )
    assert (ended["worker"], ended["code"]) == ("audit", 2)
    folder = site.folder / "no"
    assert ended["reason"].startswith(
        f"store.url: No such file or directory: {folder}/s.db; create"
    )
    assert f"the folder {folder}, owned by user " in ended["reason"]
