"""The metrics endpoint: addresses, invalid addresses, and a port already in use."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
import requests
from prometheus_client import CollectorRegistry, Counter

from ops.site.findings import of_workers
from ops.site.worker import WORKERS
from producers.settings import ConfigError
from tests.testbed.ports import Ports
from tests.testbed.waiting import until
from tests.unit.test_doctor import GOOD_TOML
from workers.config.settings import load
from workers.config.tables import MetricsSettings
from workers.process import metrics_endpoint
from workers.process.metrics_endpoint import ROLES, endpoint_address, serve_metrics
from workers.process.runtime import Runtime
from workers.store.heartbeats import Heartbeat

if TYPE_CHECKING:
    from pathlib import Path


def test_each_role_has_its_own_port() -> None:
    settings = MetricsSettings(listen="127.0.0.1:9464")
    found = [endpoint_address(settings, role, {}) for role in ROLES]
    assert len(set(found)) == len(ROLES)
    assert found[0] == ("127.0.0.1", 9464)


def test_every_worker_has_a_role() -> None:
    assert set(WORKERS) < set(ROLES)


def test_the_environment_sets_another_address_for_one_process() -> None:
    given = {"LAMPLIGHTER_METRICS": "[::1]:1234"}
    assert endpoint_address(MetricsSettings(), "power", given) == ("::1", 1234)
    assert endpoint_address(MetricsSettings(), "power", {}) is None


@pytest.mark.parametrize("text", ["9464", "localhost", "127.0.0.1:x", "127.0.0.1:65535", ":1"])
def test_an_invalid_address_is_rejected_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"listen: .*write"):
        MetricsSettings(listen=text)
    with pytest.raises(ConfigError, match=r"LAMPLIGHTER_METRICS: listen: .*write"):
        endpoint_address(MetricsSettings(), "up", {"LAMPLIGHTER_METRICS": text})


def test_a_worker_without_metrics_says_so_in_its_heartbeat(tmp_path: Path) -> None:
    (tmp_path / "lamplighter.toml").write_text(GOOD_TOML)
    settings = load(tmp_path / "lamplighter.toml", {})
    run = Runtime(settings, "power", "power@test:1", Mock(), state="running")
    assert run.status == "running"
    run.unserved = "serves no metrics at 127.0.0.1 port 1"
    beat = Heartbeat("power", run.name, "test", 1, started_at=1, seen_at=1, state=run.status)
    (found,) = of_workers([beat], 1)
    assert "serves no metrics at 127.0.0.1 port 1; running" in found.words


def test_metrics_are_served_and_a_second_worker_runs_without_them() -> None:
    registry = CollectorRegistry()
    Counter("lamplighter_test", "A test's.", registry=registry).inc()
    with Ports() as ports:
        port = ports.take()
        settings = MetricsSettings(listen=f"127.0.0.1:{port}")
        with (
            serve_metrics(settings, "up", registry) as served,
            serve_metrics(settings, "up", CollectorRegistry()) as unserved,
        ):
            assert served is None
            assert (
                f"serves no metrics at 127.0.0.1 port {port} (metrics.listen): Address already in use: "
                "set $LAMPLIGHTER_METRICS" in (unserved or "")
            )
            answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
            assert "lamplighter_test_total 1.0" in answer.text
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
def test_callers_that_say_nothing_or_drip_take_nothing_from_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few connections are kept, none for long; then the metrics are served again."""
    monkeypatch.setattr(metrics_endpoint, "_CALL_SECONDS", 2.0)
    registry = CollectorRegistry()
    Counter("lamplighter_test", "A test's.", registry=registry).inc()
    with Ports() as ports, ExitStack() as callers:
        port = ports.take()
        settings = MetricsSettings(listen=f"127.0.0.1:{port}")
        callers.enter_context(serve_metrics(settings, "up", registry))
        before = threading.active_count()
        for _ in range(60):
            caller = callers.enter_context(socket.create_connection(("127.0.0.1", port)))
            caller.sendall(b"GET /met")
        assert threading.active_count() - before <= 2 * metrics_endpoint._MOST_CALLERS

        def answered() -> bool:
            try:
                answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5)
            except requests.RequestException:
                return False
            return "lamplighter_test_total 1.0" in answer.text

        until(answered, 15, "a place for Prometheus")
        until(lambda: threading.active_count() <= before + 1, 15, "the end of all callers")
