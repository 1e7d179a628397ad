"""The simulation as a process: it starts, runs power hooks, and stops on SIGTERM."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import requests

from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import Config, HookSpec, ServerSpec, Settings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.simcloud.wire import HookState

pytestmark = pytest.mark.slow

# Writes a line at its start and at its end, so that overlaps would be visible.
COMMAND = """
import os, sys, time
name, event, seconds = sys.argv[1:]
print("begin", name, event, sorted(set(os.environ) - {"LC_CTYPE"}), flush=True)
time.sleep(float(seconds))
print("end", name, event, flush=True)
"""


def hook(log: Path, seconds: float = 0.0, **options: float) -> HookSpec:
    return HookSpec(
        arguments=[sys.executable, "-c", COMMAND, "{name}", "{event}", str(seconds)],
        log_file=str(log),
        environment={"ONLY": "this"},
        **options,
    )


def settled(cloud: SimCloud, commands: int) -> HookState:
    def done() -> HookState | None:
        state = cloud.state().hook
        return state if state.finished + state.failed >= commands else None

    return until(done, 20, f"{commands} commands of the hook")


def test_the_configuration_sets_servers_settings_and_hook(tmp_path: Path) -> None:
    log = tmp_path / "hook.log"
    config = Config(
        settings=Settings(boot_seconds=(1, 2)),
        servers=[ServerSpec(name="up", status="ACTIVE"), ServerSpec(name="down")],
        hook=hook(log),
    )
    with SimCloud(config) as cloud:
        assert {s.name: s.status for s in cloud.servers().values()} == {
            "up": "ACTIVE",
            "down": "SHUTOFF",
        }
        assert cloud.state().settings.boot_seconds == (1, 2)
        assert settled(cloud, 1).finished == 1
    assert log.read_text().splitlines() == ["begin up power_on ['ONLY']", "end up power_on"]


def test_the_hook_runs_once_per_change_in_order_for_each_server(
    cloud: SimCloud, tmp_path: Path
) -> None:
    log = tmp_path / "hook.log"
    cloud.add_servers(["node1", "node2"])
    cloud.set_hook(hook(log, seconds=0.1))
    for on in (True, False, True):
        cloud.set_power("node*", on=on)
    settled(cloud, 6)
    lines = log.read_text().splitlines()
    for name in ("node1", "node2"):
        own = [line.split(" [")[0] for line in lines if f" {name} " in line]
        assert own == [
            f"{edge} {name} {event}"
            for event in ("power_on", "power_off", "power_on")
            for edge in ("begin", "end")
        ]


def test_a_hook_that_fails_hangs_or_is_missing_is_logged_and_blocks_nothing(
    cloud: SimCloud, tmp_path: Path
) -> None:
    log = tmp_path / "hook.log"
    cloud.add_servers(["node1"])
    before = cloud.state().hook.failed
    missing = HookSpec(arguments=["/no/such/program"], log_file=str(log))
    failing = HookSpec(arguments=["/bin/sh", "-c", "exit 3"], log_file=str(log))
    for spec, on in [(missing, True), (failing, False), (hook(log, 60, timeout_seconds=0.2), True)]:
        cloud.set_hook(spec)
        cloud.set_power("node1", on=on)
        until(lambda: cloud.state().hook.pending == 0, 20, "the failure")
    assert cloud.state().hook.failed == before + 3
    said = log.read_text()
    assert "No such file" in said
    assert "exit status 3" in said
    assert "killed after 0.2 s" in said


def test_the_ledger_keeps_servers_that_the_api_no_longer_shows(cloud: SimCloud) -> None:
    cloud.add_servers(["node1"])
    cloud.set_power("node1", on=True)
    cloud.set_power("node1", on=False)
    cloud.set_power("node1", on=True)
    (entry,) = cloud.ledger()
    first, second = entry.intervals
    assert first.off is not None
    assert first.on <= first.off <= second.on
    assert second.off is None


def test_a_server_can_be_broken_and_repaired_from_outside(cloud: SimCloud) -> None:
    cloud.add_servers(["node1", "node2"], status="ACTIVE")
    cloud.change_servers("node1", status="ERROR", fault="the host is gone")
    assert {s.name: s.status for s in cloud.servers().values()} == {
        "node1": "ERROR",
        "node2": "ACTIVE",
    }
    cloud.change_servers("node*", status="SHUTOFF", locked=True)
    assert all(server.locked for server in cloud.servers().values())


def test_sigterm_stops_it_cleanly_even_while_a_call_hangs() -> None:
    cloud = SimCloud(Config(settings=Settings(latency_seconds=30)))
    cloud.start()
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{cloud.url}/compute", timeout=0.2)
    assert cloud.stop() == 0


def test_an_invalid_configuration_is_refused_with_the_name_of_the_field() -> None:
    nonsense = Config(settings=Settings(page_limit=0))
    with pytest.raises(RuntimeError, match="page_limit"):
        SimCloud(nonsense).start()


def test_two_simulations_run_side_by_side() -> None:
    with SimCloud() as one, SimCloud() as two:
        one.add_servers(["node1"])
        assert one.url != two.url
        assert two.servers() == {}
