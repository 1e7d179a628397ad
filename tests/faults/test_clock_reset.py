"""A hook ran while its host's time was half an hour ahead; `lamplighter clock reset` undoes it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from producers import clock
from tests.testbed.waiting import until, until_none
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NS = 10**9
AHEAD = 1800
REASON = ("--reason", "the time was wrong", "--yes")
# A hook on a host whose time is ahead.
AHEAD_HOOK = f"""
import sys, time
real = time.time_ns
time.time_ns = lambda: real() + {AHEAD} * 10**9
sys.argv = ["lamplighter-suspend", "node1"]
from producers.suspend import main
main()
"""
# Kills the command directly after a step of the reset.
DOOMED = """
import os, signal
from producers import clock
from ops.site import clock as command
from workers.store import generations

def doomed(owner, name):
    real = getattr(owner, name)
    def step(*arguments):
        real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, step)

step = os.environ["STEP"]
if step == "published":
    doomed(command, "_publish")
elif step == "lowered":
    clock.LockedClock.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    doomed(clock.LockedClock, "write")
from ops.cli.main import main
main()
"""


@pytest.fixture
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    """node1 runs; then a hook whose time is ahead has powered it off; the time is right again."""
    plan = SystemPlan(nodes=2, power="poll_interval = 0.3\nclock_ahead = 3600.0")
    with WholeSystem(run_dir / "fleet", broker_url, plan) as running:
        assert running.request("resume", "node1").returncode == 0
        running.settle()
        subprocess.run(
            [sys.executable, "-c", AHEAD_HOOK],
            env={"LAMPLIGHTER_CONFIG": str(running.settings.path)},
            cwd=ROOT,
            check=True,
        )
        running.note("suspend", "node1")
        running.settle()
        assert running.statuses()["node1"] == "SHUTOFF"
        yield running


def shown(system: WholeSystem) -> dict[str, Any]:
    """What `clock show` prints."""
    view: dict[str, Any] = json.loads(system.operator("clock", "show", "--json").stdout)
    return view


def check(system: WholeSystem) -> None:
    """All promises hold, except that the generations no longer tell which request came last."""
    until(lambda: system.depths() == {}, 20, "empty queues")
    until_none(lambda: system.broken(others_ask=True), 20, "broken promises")
    assert system.wrong() == {}


def is_acted_upon(system: WholeSystem) -> None:
    """Slurm's next resume of node1 powers it on."""
    assert system.request("resume", "node1").returncode == 0
    system.settle()
    assert system.statuses()["node1"] == "ACTIVE"
    assert set(system.outcomes()) == {"completed"}


def test_a_resume_after_the_reset_is_acted_upon_at_once(system: WholeSystem) -> None:
    assert system.request("suspend", "node2").returncode == 0
    system.settle()
    assert "run: lamplighter clock reset" in (system.folder / "hooks.log").read_text()
    view = shown(system)
    assert view["is_ahead"]
    assert view["stored_seconds_ahead"] == pytest.approx(AHEAD, abs=60)

    running = system.operator("clock", "reset", *REASON)
    assert (running.returncode, "workers are running: power" in running.stderr) == (1, True)
    assert shown(system)["is_ahead"]

    assert system.workers["power"].stop() == 0
    until(lambda: shown(system)["obstacles"] == [], 20, "the worker to be gone")
    unconfirmed = system.operator("clock", "reset", "--reason", "the time was wrong")
    assert (unconfirmed.returncode, shown(system)["is_ahead"]) == (2, True)
    done = system.operator("clock", "reset", *REASON)
    assert done.returncode == 0, done.stderr
    assert not shown(system)["is_ahead"]
    again = system.operator("clock", "reset", *REASON)
    assert (again.returncode, "nothing to reset" in again.stdout) == (0, True)

    system.worker("power")
    system.ready()
    is_acted_upon(system)
    (notice,) = [e for e in system.records() if e.type == "lamplighter.clock.reset.v1"]
    details = json.loads(notice.body)["data"]["details"]
    assert details["reason"] == "the time was wrong"
    assert int(details["from"]) - int(details["to"]) == pytest.approx(AHEAD * NS, abs=60 * NS)
    check(system)


def test_a_reset_is_refused_while_a_request_from_the_future_waits_anywhere(
    system: WholeSystem,
) -> None:
    assert system.workers["power"].stop() == 0
    assert system.request("suspend", "node2").returncode == 0
    until(lambda: "power" not in shown(system)["working"], 20, "the worker to be gone")
    refused = system.operator("clock", "reset", *REASON)
    assert (refused.returncode, "1 requests are in power.suspend" in refused.stderr) == (1, True)
    assert shown(system)["is_ahead"]
    system.worker("power")
    system.settle()
    check(system)


@pytest.mark.parametrize("step", ["published", "lowered", "written"])
def test_a_kill_at_any_step_leaves_a_safe_state(system: WholeSystem, step: str) -> None:
    """The next request is acted upon, and the reset can be repeated."""
    assert system.workers["power"].stop() == 0
    until(lambda: shown(system)["obstacles"] == [], 20, "the worker to be gone")
    before = clock.last_generation(system.settings.hook.state)
    words = [str(word) for word in system.command("clock", "reset", *REASON)]
    killed = subprocess.run(
        [words[0], "-c", DOOMED, *words[3:]], cwd=ROOT, env={"STEP": step}, check=False
    )
    assert killed.returncode == -9
    last = clock.last_generation(system.settings.hook.state)
    assert (last < before) is (step == "written")
    assert shown(system)["is_ahead"] is (step != "written")
    system.worker("power")
    system.ready()
    is_acted_upon(system)
    assert system.workers["power"].stop() == 0
    until(lambda: shown(system)["obstacles"] == [], 20, "the worker to be gone")
    done = system.operator("clock", "reset", *REASON)
    assert done.returncode == 0, done.stderr
    assert not shown(system)["is_ahead"]
    system.worker("power")
    system.ready()
    assert system.request("suspend", "node1").returncode == 0
    system.settle()
    check(system)
