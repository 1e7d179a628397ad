"""Every process shows its figures, they are true, and the alerts and the dashboard know no others."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from ops.processes.metrics import SupervisorMetrics
from tests.testbed.scrape import Scrape, port_of
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem
from workers.slurm.metrics import SlurmMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/lamplighter.json"
ROLES = ("tokens", "power", "audit", "relay")
_METRIC = re.compile(r"lamplighter_[a-z_]+")
# One server too many for the cloud: the fourth of these nodes has none.
NODES = 4


@pytest.fixture(scope="module")
def fleet(session_dir: Path, broker: Broker) -> Iterator[WholeSystem]:
    """Three nodes that have been lit, and one whose boot has failed."""
    plan = SystemPlan(
        nodes=NODES,
        servers=("node1", "node2", "node3"),
        power="poll_interval = 0.2",
        more='[metrics]\nlisten = "127.0.0.1:0"\n',
    )
    vhost = broker.create_vhost()
    url = broker.amqp_url(vhost)
    with WholeSystem(session_dir / "metrics", url, plan, start=ROLES) as fleet:
        fleet.ask("resume")
        fleet.settle()
        yield fleet


@pytest.fixture(scope="module")
def scraped(fleet: WholeSystem) -> dict[str, Scrape]:
    return {role: scrape(fleet, role) for role in ROLES}


def scrape(fleet: WholeSystem, role: str) -> Scrape:
    until(lambda: port_of(fleet.log(role)), 20, f"the port of {role}")
    return Scrape(port_of(fleet.log(role)) or 0)


def test_requests_calls_and_failed_boots_are_counted_as_they_were(
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


def test_the_audit_worker_tells_how_the_whole_site_stands(fleet: WholeSystem) -> None:
    until(lambda: scrape(fleet, "audit").value("lamplighter_dead_letters") == 1, 20, "the letter")
    site = scrape(fleet, "audit")
    assert site.value("lamplighter_readable", {"part": "broker"}) == 1
    assert site.value("lamplighter_queue_consumers", {"queue": "power.resume"}) == 1
    assert site.value("lamplighter_nodes", {"group": "all", "state": "on"}) == NODES - 1
    assert site.value("lamplighter_nodes", {"group": "all", "state": "failed"}) == 1
    assert site.value("lamplighter_open_request_age_max_seconds") == 0
    assert site.value("lamplighter_audit_events_total") == len(fleet.records())


def test_a_call_left_in_the_spool_is_as_old_as_its_generation(fleet: WholeSystem) -> None:
    fleet.workers["relay"].stop()
    left = fleet.settings.hook.spool / f"{1_000_000_000:020d}-{'0' * 32}.call"
    left.write_text("not even a call")
    left.chmod(0o000)
    try:
        fleet.worker("relay", "relay-again")
        relay = scrape(fleet, "relay-again")
    finally:
        fleet.workers["relay-again"].stop()
        left.unlink(missing_ok=True)
    age = relay.value("lamplighter_spooled_call_age_max_seconds")
    assert age is not None
    assert age > 1_000_000


def test_no_figure_names_a_node(scraped: dict[str, Scrape]) -> None:
    values = {value for s in scraped.values() for _, labels in s.samples for _, value in labels}
    assert not {value for value in values if value.startswith("node")}
    assert not {"node", "subject", "server"} & {
        n for s in scraped.values() for _, ls in s.samples for n, _ in ls
    }


def expressions() -> list[str]:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules), *shown]


def test_alerts_and_dashboard_ask_only_for_what_is_shown(scraped: dict[str, Scrape]) -> None:
    registry = CollectorRegistry()
    SlurmMetrics(registry)
    SupervisorMetrics(registry)
    shown = {name for s in scraped.values() for name in s.names}
    shown |= set(_METRIC.findall(generate_latest(registry).decode()))
    asked = {name for expr in expressions() for name in _METRIC.findall(expr)}
    assert asked
    assert asked <= shown


def test_promtool_agrees_with_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
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
