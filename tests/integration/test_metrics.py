"""Every process exports correct metrics, and alerts and dashboard use only exported ones."""

from __future__ import annotations

import json
import re
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from producers.amqp import connection_parameters
from tests.testbed.scrape import Scrape, port_of
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem
from workers.broker.blocking import blocking_channel
from workers.broker.declare import declare
from workers.broker.topology import NOTIFY_QUEUE, topology
from workers.process.supervisor_metrics import SupervisorMetrics
from workers.slurm.metrics import SlurmMetrics
from workers.store.database import open_store
from workers.store.heartbeats import Heartbeat, delete_heartbeat, problem, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/lamplighter.json"
ROLES = ("tokens", "power", "audit", "relay")
_METRIC = re.compile(r"lamplighter_[a-z_]+")
# The fourth of these nodes has no server.
NODES = 4


@pytest.fixture(scope="module")
def system(session_dir: Path, broker: Broker) -> Iterator[WholeSystem]:
    """Three nodes that were powered on, and one whose boot failed."""
    plan = SystemPlan(
        nodes=NODES,
        servers=("node1", "node2", "node3"),
        power="poll_interval = 0.2",
        more='[metrics]\nlisten = "127.0.0.1:0"\n',
    )
    vhost = broker.create_vhost()
    url = broker.amqp_url(vhost)
    with WholeSystem(session_dir / "metrics", url, plan, start=ROLES) as system:
        system.request("resume")
        system.settle()
        yield system


@pytest.fixture(scope="module")
def scraped(system: WholeSystem) -> dict[str, Scrape]:
    return {role: scrape(system, role) for role in ROLES}


def scrape(system: WholeSystem, role: str) -> Scrape:
    until(lambda: port_of(system.log(role)), 20, f"the port of {role}")
    return Scrape(port_of(system.log(role)) or 0)


def test_requests_calls_and_failed_boots_are_counted(
    scraped: dict[str, Scrape],
) -> None:
    power = scraped["power"]
    assert power.value("lamplighter_requests_accepted_total", {"kind": "resume"}) == NODES
    ended = "lamplighter_requests_ended_total"
    assert power.value(ended, {"kind": "resume", "outcome": "completed"}) == NODES - 1
    assert power.value(ended, {"kind": "resume", "outcome": "failed"}) == 1
    boots = {"cloud": "main", "cause": "server_missing"}
    assert power.value("lamplighter_boots_failed_total", boots) == 1
    calls = {"cloud": "main", "action": "os-start", "result": "done"}
    assert power.value("lamplighter_cloud_call_duration_seconds_count", calls) == NODES - 1


def test_the_audit_worker_exports_the_gauges_of_the_installation(system: WholeSystem) -> None:
    until(
        lambda: scrape(system, "audit").value("lamplighter_dead_letters") == 1,
        20,
        "the dead letter",
    )
    site = scrape(system, "audit")
    assert site.value("lamplighter_readable", {"part": "broker"}) == 1
    assert site.value("lamplighter_queue_consumers", {"queue": "power.resume"}) == 1
    assert site.value("lamplighter_queues_missing") == 0
    assert site.value("lamplighter_nodes", {"group": "all", "state": "on"}) == NODES - 1
    assert site.value("lamplighter_nodes", {"group": "all", "state": "failed"}) == 1
    assert site.value("lamplighter_open_request_age_max_seconds") == 0
    for role in ("audit", "power", "tokens"):
        # each worker says how it is every few seconds: what it said at its start may still stand
        until(partial(is_well, system, role), 30, f"{role} to be well")
    assert site.value("lamplighter_audit_events_total") == len(system.records())


def is_well(system: WholeSystem, role: str) -> bool:
    return scrape(system, "audit").value("lamplighter_worker_problems", {"worker": role}) == 0


def test_a_worker_with_a_problem_is_counted_and_its_words_are_no_label(
    system: WholeSystem,
) -> None:
    now, cluster = time.time_ns(), system.settings.cluster
    words = problem("slurmctld says nothing")
    beats = [
        Heartbeat("slurm", "slurm@a:1", "a", 1, now, now, words),
        Heartbeat("slurm", "slurm@b:1", "b", 1, now, now, "well"),
        Heartbeat("notify", "notify@a:2", "a", 2, now - 3600 * 10**9, now - 3600 * 10**9, "well"),
    ]
    store = open_store(system.settings.store.url, "state")
    with store.begin() as connection:
        for beat in beats:
            write(connection, cluster, beat)
    try:
        site = scrape(system, "audit")
        assert site.value("lamplighter_worker_problems", {"worker": "slurm"}) == 1
        assert site.value("lamplighter_worker_problems", {"worker": "notify"}) == 1
        labels = {value for _, labels in site.samples for _, value in labels}
        assert not [one for one in labels if "slurmctld" in one]
    finally:
        with store.begin() as connection:
            for beat in beats:
                delete_heartbeat(connection, cluster, beat.name)
        store.dispose()


def test_a_missing_queue_is_counted_though_no_worker_consumes_it(system: WholeSystem) -> None:
    """It has no count of consumers. No worker says of such a queue, as that of the dead letters, that it is missing."""
    parameters = connection_parameters(system.settings.broker, "test")
    with blocking_channel(parameters) as channel:
        channel.queue_delete(NOTIFY_QUEUE)
        try:
            site = scrape(system, "audit")
            assert site.value("lamplighter_queues_missing") == 1
            assert site.value("lamplighter_queue_consumers", {"queue": NOTIFY_QUEUE}) is None
        finally:
            declare(channel, topology())


def test_a_call_left_in_the_spool_is_as_old_as_its_generation(system: WholeSystem) -> None:
    system.workers["relay"].stop()
    left = system.settings.hook.spool / f"{1_000_000_000:020d}-{'0' * 32}.call"
    left.write_text("not even a call")
    left.chmod(0o000)
    try:
        system.worker("relay", "relay-again")
        relay = scrape(system, "relay-again")
    finally:
        system.workers["relay-again"].stop()
        left.unlink(missing_ok=True)
    age = relay.value("lamplighter_spooled_call_age_max_seconds")
    assert age is not None
    assert age > 1_000_000


def test_no_label_holds_a_node_name(scraped: dict[str, Scrape]) -> None:
    values = {value for s in scraped.values() for _, labels in s.samples for _, value in labels}
    assert not {value for value in values if value.startswith("node")}
    assert not {"node", "subject", "server"} & {
        n for s in scraped.values() for _, ls in s.samples for n, _ in ls
    }


def expressions() -> list[str]:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    panel_exprs = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules), *panel_exprs]


def test_alerts_and_dashboard_use_only_exported_metrics(scraped: dict[str, Scrape]) -> None:
    registry = CollectorRegistry()
    SlurmMetrics(registry)
    ups = SupervisorMetrics(["power"])
    ups.started("power")
    registry.register(ups)
    exported = {name for s in scraped.values() for name in s.names}
    exported |= set(_METRIC.findall(generate_latest(registry).decode()))
    used = {name for expr in expressions() for name in _METRIC.findall(expr)}
    assert used
    assert used <= exported


def test_promtool_accepts_the_rules_and_they_fire_as_specified(tmp_path: Path) -> None:
    for arguments in (
        ["check", "rules", str(ALERTS)],
        ["check", "config", str(ALERTS.parent / "prometheus.yml")],
        ["test", "rules", str(ROOT / "tests/integration/alerts_test.yaml")],
    ):
        done = subprocess.run(
            ["/usr/bin/promtool", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
