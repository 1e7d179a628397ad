"""The metrics endpoint: addresses, invalid addresses, and a port already in use."""

from __future__ import annotations

import socket

import pytest
import requests
from prometheus_client import CollectorRegistry, Counter

from ops.processes.worker import WORKERS
from producers.settings import ConfigError
from tests.testbed.ports import Ports
from workers.config.tables import MetricsSettings
from workers.process.metrics_endpoint import ROLES, endpoint_address, serve_metrics


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
    with pytest.raises(ConfigError, match=r"metrics\.listen.*write"):
        endpoint_address(MetricsSettings(listen=text), "up", {})


def test_metrics_are_served_and_a_second_worker_runs_without_them() -> None:
    registry = CollectorRegistry()
    Counter("lamplighter_test", "A test's.", registry=registry).inc()
    with Ports() as ports:
        port = ports.take()
        settings = MetricsSettings(listen=f"127.0.0.1:{port}")
        with (
            serve_metrics(settings, "up", registry),
            serve_metrics(settings, "up", CollectorRegistry()),
        ):
            answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
            assert "lamplighter_test_total 1.0" in answer.text
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
