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
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    plan = SystemPlan(nodes=NODES, boot=0.3, latency=0.05, group=GROUP, servers=(), power=BRISK)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as running:
        yield running


def deploying(system: WholeSystem) -> Child:
    log = system.folder / "deploy.log"
    return Child(system.command("nodes", "deploy", "all", "--json"), log=log, cwd=ROOT)


def created(system: WholeSystem) -> int:
    return system.cloud.counts().get("create", 0)


def has_created(system: WholeSystem, count: int) -> bool:
    return created(system) >= count


def check(system: WholeSystem, operator: Child) -> None:
    """The operator received one completed outcome per node, and the cloud agrees."""
    code = operator.wait(90)
    assert code == 0, tail(operator.log)
    outcomes = [json.loads(line) for line in operator.log.read_text().splitlines()]
    assert sorted(one["node"] for one in outcomes) == sorted(system.nodes)
    assert {one["outcome"] for one in outcomes} == {"completed"}
    assert system.statuses() == dict.fromkeys(system.nodes, "SHUTOFF")
    assert system.cloud.state().statuses == {
        "SHUTOFF": NODES
    }  # so no two servers have the same name
    system.requests = NODES
    system.check()


def test_a_worker_killed_between_calls_and_responses_creates_no_second_server(
    system: WholeSystem,
) -> None:
    """The cloud creates the servers but does not respond; the next worker creates none again."""
    hang = Hang(seconds=60, performed=True)
    system.cloud.inject(Fault(effect=hang, kind="create", times=NODES))
    operator = deploying(system)
    try:
        until(partial(has_created, system, 4), 20, "as many creations as run in parallel")
        system.workers["power"].kill()
        system.cloud.clear_faults()
        system.worker("power")
        check(system, operator)
        assert created(system) == NODES
    finally:
        operator.stop()


def test_a_worker_killed_three_times_creates_one_server_per_node(system: WholeSystem) -> None:
    operator = deploying(system)
    try:
        for part in (1, 4, 7):
            until(partial(has_created, system, part), 30, f"{part} creations")
            system.workers["power"].kill()
            system.worker("power")
        check(system, operator)
    finally:
        operator.stop()


def test_a_request_whose_command_was_killed_before_publishing_is_still_sent(
    run_dir: Path, broker_url: str
) -> None:
    """The relay sends the request in the spool; the same request again changes nothing."""
    plan = SystemPlan(nodes=2, boot=0.3, group=GROUP, servers=(), power=BRISK)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        dies = (
            "import os, signal\n"
            "from producers import hook\n"
            "hook.send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "from ops.cli.main import main\n"
            "main()\n"
        )
        words = [str(word) for word in system.command("nodes", "deploy", "all")]
        killed = subprocess.run(
            [words[0], "-c", dies, *words[3:]], cwd=ROOT, check=False, capture_output=True
        )
        assert killed.returncode == -9
        assert len(list((system.folder / "spool").glob("*.call"))) == 1
        assert system.operator("relay", "--once").returncode == 0
        system.requests = 2
        system.settle()
        assert system.outcomes() == {"completed": 2}
        assert system.operator("nodes", "deploy", "all").returncode == 0
        assert system.cloud.counts()["create"] == 2
