"""kill -9 during a deployment: every node gets exactly one server."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.testbed.processes import Child, tail
from tests.testbed.simcloud.effects import Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES = 12
# After a kill, calls in flight have the API timeout before the next worker ends a request.
BRISK = "poll_interval = 0.3\napi_timeout = 4\nlease = 20"
GROUP = """deploy_wait = 0.3
[groups.all.server]
image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
flavor = "m1.tiny"
networks = ["none"]
"""


@pytest.fixture
def fleet(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    plan = SystemPlan(nodes=NODES, boot=0.3, latency=0.05, group=GROUP, servers=(), power=BRISK)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as running:
        yield running


def deploying(fleet: WholeSystem) -> Child:
    log = fleet.folder / "deploy.log"
    return Child(fleet.command("nodes", "deploy", "all", "--json"), log=log, cwd=ROOT)


def created(fleet: WholeSystem) -> int:
    return fleet.cloud.counts().get("create", 0)


def has_created(fleet: WholeSystem, count: int) -> bool:
    return created(fleet) >= count


def check(fleet: WholeSystem, operator: Child) -> None:
    """The operator received one completed outcome per node, and the cloud agrees."""
    code = operator.wait(90)
    assert code == 0, tail(operator.log)
    outcomes = [json.loads(line) for line in operator.log.read_text().splitlines()]
    assert sorted(one["node"] for one in outcomes) == sorted(fleet.nodes)
    assert {one["outcome"] for one in outcomes} == {"completed"}
    assert fleet.statuses() == dict.fromkeys(fleet.nodes, "SHUTOFF")
    assert fleet.cloud.state().statuses == {
        "SHUTOFF": NODES
    }  # so no two servers have the same name
    fleet.requests = NODES
    fleet.check()


def test_a_worker_killed_between_calls_and_responses_creates_no_second_server(
    fleet: WholeSystem,
) -> None:
    """The cloud creates the servers but does not respond; the next worker creates none again."""
    hang = Hang(seconds=60, performed=True)
    fleet.cloud.inject(Fault(effect=hang, kind="create", times=NODES))
    operator = deploying(fleet)
    try:
        until(partial(has_created, fleet, 4), 20, "as many creations as run in parallel")
        fleet.workers["power"].kill()
        fleet.cloud.clear_faults()
        fleet.worker("power")
        check(fleet, operator)
        assert created(fleet) == NODES
    finally:
        operator.stop()


def test_a_worker_killed_three_times_creates_one_server_per_node(fleet: WholeSystem) -> None:
    operator = deploying(fleet)
    try:
        for part in (1, 4, 7):
            until(partial(has_created, fleet, part), 30, f"{part} creations")
            fleet.workers["power"].kill()
            fleet.worker("power")
        check(fleet, operator)
    finally:
        operator.stop()


def test_a_request_whose_command_was_killed_before_publishing_is_still_sent(
    run_dir: Path, broker_url: str
) -> None:
    """The relay sends the request in the spool; the same request again changes nothing."""
    plan = SystemPlan(nodes=2, boot=0.3, group=GROUP, servers=(), power=BRISK)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as fleet:
        dies = (
            "import os, signal\n"
            "from producers import hook\n"
            "hook.send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "from ops.cli.main import main\n"
            "main()\n"
        )
        words = [str(word) for word in fleet.command("nodes", "deploy", "all")]
        killed = subprocess.run(
            [words[0], "-c", dies, *words[3:]], cwd=ROOT, check=False, capture_output=True
        )
        assert killed.returncode == -9
        assert len(list((fleet.folder / "spool").glob("*.call"))) == 1
        assert fleet.operator("relay", "--once").returncode == 0
        fleet.requests = 2
        fleet.settle()
        assert fleet.outcomes() == {"completed": 2}
        assert fleet.operator("nodes", "deploy", "all").returncode == 0
        assert fleet.cloud.counts()["create"] == 2
