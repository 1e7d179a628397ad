"""Operators deploy, adopt and retire nodes of a group, on a real broker with real workers."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from schemas.commands import parse_command
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import CORRELATION
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem
from workers.broker import topology
from workers.store.database import connect
from workers.store.snapshots import keep_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = """deploy_wait = 0.3
[groups.all.server]
image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
flavor = "m1.tiny"
networks = ["none"]
user_data_file = "user-data"
"""
BARE = '[groups.bare]\nnodes = "bare[1-2]"\ncloud = "main"\n'
ONE_GROUP = f"""
[clouds.main]
auth_url = "http://127.0.0.1:1/v3"
project_id = "{credentials.PROJECT_ID}"
source = {{ type = "password", username = "nobody", password_file = "none" }}
[groups.all]
nodes = "node[1-2]"
cloud = "main"
"""
PLAN = SystemPlan(
    nodes=4,
    group=GROUP,
    more=BARE,
    servers=(),
    files={"user-data": "#cloud-config\nhostname: $node\n"},
)


@pytest.fixture
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    with WholeSystem(run_dir / "fleet", broker_url, PLAN) as running:
        yield running


def test_a_group_is_deployed_powered_on_and_retired(system: WholeSystem) -> None:
    result = system.operator("nodes", "deploy", "all", "--reason", "a new cluster")
    assert result.returncode == 0, result.stderr
    assert "4 of 4 nodes done" in result.stdout
    assert system.statuses() == dict.fromkeys(system.nodes, "SHUTOFF")
    assert system.cloud.counts()["create"] == 4
    notes = [json.loads(e.body)["data"]["note"] for e in system.records(transitions=("accepted",))]
    assert len(notes) == 4
    assert all(note.startswith("by ") and note.endswith(": a new cluster") for note in notes)

    again = system.operator("nodes", "deploy", "node[1-4]")  # existing servers stay
    assert (again.returncode, system.cloud.counts()["create"]) == (0, 4)

    system.requests = 8
    system.request("resume", "node[1-2]")
    system.settle()
    result = system.operator("nodes", "deploy", "all")
    assert result.returncode == 0, result.stderr
    assert "skipped, powered on: node[1-2]" in result.stderr
    assert system.statuses()["node1"] == "ACTIVE"

    listed = system.operator("nodes", "list", "--json", "--group", "all")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["node"] for row in rows] == system.nodes
    assert [row["desired"] for row in rows] == ["up", "up", "ready", "ready"]
    assert {row["server_id"] for row in rows} == {s.id for s in system.cloud.servers().values()}

    refused = system.operator("nodes", "retire", "node[3-4]", answer="n")
    assert refused.returncode == 1
    assert len(system.statuses()) == 4
    gone = system.operator("nodes", "retire", "all", answer="y")
    assert gone.returncode == 0, gone.stderr
    assert "skipped, powered on: node[1-2]" in gone.stderr
    assert set(system.statuses()) == {"node1", "node2"}
    gone = system.operator("nodes", "retire", "all", "--powered-on", "--yes", "--json")
    assert gone.returncode == 0, gone.stderr
    assert {json.loads(line)["outcome"] for line in gone.stdout.splitlines()} == {"completed"}
    assert system.statuses() == {}


OFF = "IDLE+CLOUD+POWERED_DOWN"
# Slurm's state of a node, its jobs, and the commands that skip it.
IN_SLURM: tuple[tuple[str, tuple[int, ...], set[str]], ...] = (
    (OFF, (), set()),
    ("UNKNOWN+NOT_RESPONDING", (), set()),
    ("IDLE+CLOUD", (), {"deploy", "retire"}),
    ("MIXED+CLOUD", (7,), {"deploy", "retire"}),
    ("ALLOCATED+CLOUD+POWERED_DOWN", (), {"deploy", "retire"}),
    ("IDLE+CLOUD+POWERING_UP", (), {"deploy", "retire"}),
    ("IDLE+CLOUD+DRAIN", (), set()),
    ("MIXED+CLOUD+DRAIN", (7,), {"deploy", "retire"}),
    ("IDLE+CLOUD+DRAIN+POWERED_DOWN", (), set()),
    ("DOWN+CLOUD", (), {"deploy"}),
    ("DOWN+CLOUD+POWERED_DOWN", (), {"deploy"}),
    ("DOWN+CLOUD+NOT_RESPONDING", (), {"deploy"}),
    ("DOWN+CLOUD+DRAIN", (), set()),
)


def test_nodes_to_which_slurm_may_give_a_job_are_skipped(run_dir: Path, broker_url: str) -> None:
    """By Slurm's newest snapshot; also nodes that are down: they return to service when they boot."""
    names = [f"node{number}" for number in range(len(IN_SLURM))]
    group = ONE_GROUP.replace("node[1-2]", f"node[0-{len(IN_SLURM) - 1}]") + GROUP
    site = Installation(run_dir / "site", broker_url, more=group)
    site.make_hook_folders()
    site.prepare()
    pairs = list(zip(names, IN_SLURM, strict=True))
    nodes = tuple(SlurmNode(name, state, jobs=jobs) for name, (state, jobs, _) in pairs)
    engine = connect(site.settings.store.url)
    with engine.begin() as connection:
        keep_snapshot(connection, Snapshot(CLUSTER, time.time_ns(), CORRELATION, "host", nodes))
    engine.dispose()
    for command, *options in (("deploy",), ("retire", "--yes")):
        done = site.lamplighter("nodes", command, "all", "--no-wait", *options)
        assert done.code == 0, done.err
        wanted = [name for name, (_, _, skip) in pairs if command not in skip]
        queued = site.drain(topology.SUSPEND_QUEUE)
        assert [parse_command(body).node for _, body in queued] == wanted
        assert "in service in Slurm; drain them first: node" in done.err
    only = site.lamplighter("nodes", "deploy", "node2", "--no-wait")
    assert (only.code, "all nodes are skipped" in only.err) == (1, True)
    site.drain(topology.SUSPEND_QUEUE)
    sent = site.lamplighter("nodes", "deploy", "node2", "--no-wait", "--powered-on", "--json")
    assert sent.code == 0
    ((_, body),) = site.drain(topology.SUSPEND_QUEUE)
    asked = {"node": "node2", "request_id": parse_command(body).id, "outcome": None}
    assert sent.lines == [asked], "also what is not waited for is JSON, with its id"


def test_servers_without_our_tags_are_not_touched_until_they_are_adopted(
    system: WholeSystem,
) -> None:
    system.cloud.add_servers(["node1", "node2"], status="ACTIVE")
    result = system.operator("nodes", "retire", "node[1-2]", "--yes")
    assert result.returncode == 1
    assert "2 failed, not_ours: node[1-2]" in result.stdout
    assert system.operator("nodes", "adopt", "node[1-3]").returncode == 1  # node3 has no server
    assert system.statuses() == {"node1": "ACTIVE", "node2": "ACTIVE"}
    tags = system.cloud.servers()["node1"].metadata
    assert (tags["lamplighter_cluster"], tags["lamplighter_node"]) == ("test", "node1")
    assert system.operator("nodes", "retire", "node[1-2]", "--yes").returncode == 0
    assert system.statuses() == {}


def test_failures_are_grouped_by_cause_and_shown_with_the_node(system: WholeSystem) -> None:
    system.cloud.set(instance_quota=0)
    result = system.operator("nodes", "deploy", "all")
    assert result.returncode == 1
    assert "0 of 4 nodes done" in result.stdout
    assert "4 failed, quota: node[1-4]" in result.stdout
    shown = system.operator("nodes", "show", "node2", "--json")
    node = json.loads(shown.stdout)
    assert (node["desired"], node["requests"][0]["kind"]) == ("ready", "deploy")
    assert node["requests"][0]["cause"].startswith("quota: ")
    assert "quota" in system.operator("nodes", "show", "node2").stdout


def test_an_operator_powers_a_node_on_and_off(system: WholeSystem) -> None:
    system.cloud.add_servers(["node1"])
    assert system.operator("resume", "node1").returncode == 2  # the reason is missing
    assert system.operator("resume", "node1", "--reason", "test it").returncode == 0
    assert system.statuses() == {"node1": "ACTIVE"}
    result = system.operator("suspend", "node1", "--reason", "done", answer="y")
    assert (result.returncode, system.statuses()) == (0, {"node1": "SHUTOFF"})


def test_ctrl_c_and_timeout_end_the_wait_but_not_the_requests(system: WholeSystem) -> None:
    system.cloud.set(boot_seconds=3.0)
    result = system.operator("nodes", "deploy", "node1", "--timeout", "1s")
    assert result.returncode == 1
    assert "1 still in progress: node1" in result.stdout
    log = system.folder / "deploy.log"
    child = Child(system.command("nodes", "deploy", "node[1-2]"), log=log, cwd=ROOT)
    try:
        until(lambda: system.cloud.counts().get("create") == 2, 30, "the second creation")
        child.send(signal.SIGINT)
        assert child.wait(10) == 130
    finally:
        child.stop()
    assert "the requests continue" in log.read_text()
    system.requests = 3
    system.settle()
    assert system.statuses() == {"node1": "SHUTOFF", "node2": "SHUTOFF"}


def test_a_terminal_shows_a_progress_bar(system: WholeSystem) -> None:
    parent, child = pty.openpty()
    try:
        done = subprocess.run(
            system.command("nodes", "deploy", "all"),
            cwd=ROOT,
            env={**MINIMAL_ENVIRONMENT, "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=child,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
        shown = os.read(parent, 1_000_000).decode()
    finally:
        os.close(parent)
        os.close(child)
    assert done.returncode == 0, done.stderr
    assert "4/4 nodes" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("deploy", "nowhere[1-2]"), "nowhere[1-2]: neither a group nor nodes of a group"),
        (("deploy", "node[1"), "not a group, and hostlist"),
        (("retire", "node1; rm -rf /"), "is not a node name"),
        (("adopt", "\x1b[2J"), "not a group, and hostlist"),
        (("deploy", "bare"), "[groups.bare.server] is missing"),
        (("list", "--group", "nobody"), "there is no [groups.nobody]"),
        (("show", "nowhere1"), "is not in any group"),
        (("deploy", "all", "--timeout", "soon"), "is not a length of time"),
    ],
)
def test_invalid_input_is_refused_and_no_request_is_sent(
    run_dir: Path, broker_url: str, arguments: tuple[str, ...], text: str
) -> None:
    with WholeSystem(run_dir / "fleet", broker_url, PLAN, start=()) as system:
        result = system.operator("nodes", *arguments)
        assert result.returncode in {1, 2}
        assert text in " ".join(result.stderr.split())
        assert "\x1b" not in result.stderr
        assert not list((system.folder / "spool").iterdir())


def test_a_request_waits_in_the_spool_while_the_broker_is_away(run_dir: Path) -> None:
    """The operator is informed, and the request is sent only once."""
    url = "amqp://guest:hidden-word@127.0.0.1:1/gone"
    site = Installation(run_dir / "site", url, more=ONE_GROUP)
    for name in ("spool", "clock"):
        (site.folder / name).mkdir()
    result = site.lamplighter("nodes", "adopt", "node[1-2]", "--no-wait")
    assert result.code == 3
    assert "the relay sends it" in result.err
    assert "hidden-word" not in result.err
    assert len(list((site.folder / "spool").glob("*.call"))) == 1
    # without a store there would be no outcome to wait for: no request is sent
    assert "start a worker first" in site.lamplighter("nodes", "adopt", "node[1-2]").err
    assert len(list((site.folder / "spool").glob("*.call"))) == 1
