"""The report's hours compared with the simulated cloud's own ledger, which is separate from its API."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from ops.cli.session import Session
from ops.report.page import page
from ops.report.question import BY
from ops.report.report import make_report
from producers.amqp import connection_parameters
from producers.message import Batch
from producers.publish import publish
from producers.snapshot import messages, take
from schemas.snapshot import SlurmNode
from tests.testbed.consumers import all_consume
from tests.testbed.simcloud.images import BASE_IMAGE_NAME
from tests.testbed.simcloud.settings import ServerSpec
from tests.testbed.waiting import until
from tests.testbed.whole_system import WORKERS, SystemPlan, WholeSystem
from workers.broker import topology

if TYPE_CHECKING:
    from pathlib import Path

POLL = 0.2
SECOND = 1.0
_DELETED = f"""
strategy = "delete"
[groups.all.server]
image = "{BASE_IMAGE_NAME}"
flavor = "m1.tiny"
networks = ["none"]
"""


def report(system: WholeSystem, *arguments: str) -> dict[str, Any]:
    done = system.operator("report", "--from", "1h", "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def billed(system: WholeSystem) -> tuple[float, int]:
    """How many seconds servers were on, and how many times."""
    spans = [i for entry in system.cloud.ledger() for i in entry.intervals]
    assert all(span.off is not None for span in spans)
    return sum((span.off or 0) - span.on for span in spans), len(spans)


def test_powered_on_hours_match_the_clouds_ledger_to_the_second(
    run_dir: Path, broker_url: str
) -> None:
    plan = SystemPlan(nodes=6, boot=1.0, stop=0.6, power=f"poll_interval = {POLL}")
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        begin = time.time()
        system.request("resume", "node[1-4]")
        system.settle()
        system.request("suspend", "node[1-2]")
        system.settle()
        system.request("resume", "node[1-2]")  # again
        system.settle()
        # superseded on its way: the resume may still have powered on the node
        system.request("resume", "node5")
        until(lambda: system.records(transitions=("accepted",), nodes=("node5",)), 20, "node5")
        system.request("suspend", "node[1-5]")
        system.settle()
        bill, times = billed(system)
        found = report(system)
        whole = time.time() - begin
        total = found["total"]
        assert abs(total["powered_on_seconds"] - bill) < SECOND
        assert total["boots"] >= times - 1
        assert total["boots_failed"] == 0
        # EGI's accounting counts stopped servers too
        assert total["visible_seconds"] > total["powered_on_seconds"]
        assert total["saved_seconds"] + total["powered_on_seconds"] <= whole * plan.nodes
        session, since = Session(system.settings.path), int(begin) * 10**9
        for by in BY:
            made = make_report(session, since, time.time_ns(), by)
            assert made.total.powered_on / 1e9 == pytest.approx(
                total["powered_on_seconds"], abs=0.01
            )
            html = page(made, "<vespa>")
            assert "<svg" in html
            assert "://" not in html, "it loads nothing from elsewhere"
            assert "<vespa>" not in html
        sheet = system.operator("report", "--from", "1h", "--format", "csv").stdout
        assert [row["group"] for row in csv.DictReader(io.StringIO(sheet))] == ["all", "total"]


def test_a_deleted_server_is_billed_and_visible_only_while_it_exists(
    run_dir: Path, broker_url: str
) -> None:
    plan = SystemPlan(
        nodes=3, boot=0.8, stop=0.3, power=f"poll_interval = {POLL}", group=_DELETED, servers=()
    )
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.request("resume")
        system.settle()
        running_since = time.time()
        system.request("suspend")
        system.settle()
        total = report(system, "--by", "strategy")["total"]
        bill, times = billed(system)
        assert times == plan.nodes
        assert abs(total["powered_on_seconds"] - bill) < SECOND
        assert total["powered_on_seconds"] < plan.nodes * (time.time() - running_since + SECOND)
        assert total["powered_on_seconds"] <= total["visible_seconds"]
        alive = total["powered_on_seconds"] + total["booting_seconds"]
        assert abs(total["visible_seconds"] - alive) < SECOND


def test_each_finding_of_the_resync_worker_is_counted_once(run_dir: Path, broker_url: str) -> None:
    """End to end: tagged servers, the cloud's listing, a snapshot from Slurm, notices, the audit."""
    plan = SystemPlan(
        nodes=2,
        power=f"poll_interval = {POLL}",
        # the interval is also how long a snapshot waits for the cloud's listing
        more="[slurm]\nsnapshot_interval = 120.0\n[resync]\nenabled = true\ngrace = 0\n",
    )
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=(*WORKERS, "resync")) as system:
        until(
            lambda: all_consume(system.settings, topology.SNAPSHOT_QUEUE), 60, "the resync worker"
        )
        system.cloud.set_power("node1", on=True)  # no request for it
        _stray(system, "old1", "old2")
        until(lambda: system.cloud.servers()["node1"].status == "SHUTOFF", 60, "node1 to stop")
        _stray(system, "old3")  # the others still exist
        for by, key, home in (("cloud", "main", "main"), ("group", "-", "all")):
            found = report(system, "--by", by)
            strays = {row["key"]: row["strays"] for row in found["rows"] if row["strays"]}
            assert (strays, found["total"]["strays"]) == ({key: 3}, 3)
            orphans = {row["key"]: row["orphans"] for row in found["rows"] if row["orphans"]}
            assert orphans == {home: 1}
        assert "strays" not in report(system, "--by", "user")["total"]
        for form in ("table", "csv"):
            shown = system.operator("report", "--by", "cloud", "--format", form).stdout
            assert "strays" in shown
            assert re.search(r"^total.*\b1\W+3\s*$", shown, re.MULTILINE), shown
        html = system.operator("report", "--by", "cloud", "--format", "html").stdout
        assert "<b>1</b> orphan and <b>3</b> stray servers found" in html


def _stray(system: WholeSystem, *names: str) -> None:
    """Add servers with our tags that belong to no node; wait until the audit has their notices."""
    cluster = system.settings.cluster
    tags = [{"lamplighter_cluster": cluster, "lamplighter_node": name} for name in names]
    servers = system.cloud.add_servers(
        [ServerSpec(name=tag["lamplighter_node"], metadata=tag) for tag in tags]
    )
    _send_snapshot(system)
    ids = {server.id for server in servers}
    until(lambda: ids <= {e.subject for e in system.records()}, 60, "the notices about the strays")


def _send_snapshot(system: WholeSystem) -> None:
    """Send a snapshot as the snapshot worker does."""
    settings = system.settings
    nodes = [SlurmNode(node, "IDLE+CLOUD+POWERED_DOWN") for node in system.nodes]
    taken = take(settings.cluster, settings.hook.state, lambda: nodes)
    parameters = connection_parameters(settings.broker, "test controller")
    sent = publish(parameters, [Batch(messages(taken), lambda: None)], 10.0)
    assert sent.problem is None, sent.problem
