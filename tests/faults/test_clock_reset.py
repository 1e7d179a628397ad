"""A hook ran while its host's time was half an hour ahead; `lamplighter clock reset` undoes it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from producers import clock
from tests.testbed.scripted_slurm import ScriptedSlurm
from tests.testbed.waiting import until, until_none
from tests.testbed.whole_system import ROOT, WORKERS, SystemPlan, WholeSystem
from workers.power.admit import IMPLAUSIBLE

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


# What a reset requires to be stopped.
STOPPED = ("power", "resync")


@pytest.fixture(params=["accepts hours", "default"])
def system(request: pytest.FixtureRequest, run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    """node1 runs; a hook whose time is ahead has powered it off; the time is right again.

    Either `clock_ahead` accepts such a time at once; or, by default, it waited until a snapshot of
    Slurm showed that the hooks' clock is there.
    """
    if by_default := request.param == "default":
        plan = SystemPlan(nodes=2, more="[resync]\nenabled = true\n")
    else:
        plan = SystemPlan(nodes=2, power="poll_interval = 0.3\nclock_ahead = 3600.0")
    start = (*WORKERS, "resync") if by_default else WORKERS
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=start) as running:
        running.cloud.set_power("node1", on=True)
        subprocess.run(
            [sys.executable, "-c", AHEAD_HOOK],
            env={"LAMPLIGHTER_CONFIG": str(running.settings.path)},
            cwd=ROOT,
            check=True,
        )
        running.note("suspend", "node1")
        if by_default:
            until(lambda: parked(running) == {IMPLAUSIBLE}, 30, "the suspend to wait")
            assert running.statuses()["node1"] == "ACTIVE"
        settle(running)
        assert running.statuses()["node1"] == "SHUTOFF"
        yield running


def parked(system: WholeSystem) -> set[str]:
    """Why requests wait, or have waited."""
    waited = [e for e in system.records() if e.transition == "parked"]
    return {json.loads(e.body)["data"]["cause"]["error"] for e in waited}


def stop(system: WholeSystem) -> None:
    """Stop what a reset requires to be stopped."""
    for name in STOPPED:
        if name in system.workers:
            assert system.workers[name].stop() == 0
    until(lambda: not set(STOPPED) & set(shown(system)["working"]), 20, "the workers to be gone")


def start(system: WholeSystem) -> None:
    """Start them again."""
    for name in STOPPED:
        if name in system.workers:
            system.worker(name)
    system.ready()


def settle(system: WholeSystem, *wanted: str) -> None:
    """Wait until every request has ended; where there are snapshots, Slurm's show what it wants up."""
    if "resync" not in system.workers:
        system.settle()
        return
    slurm = ScriptedSlurm(system)
    slurm.wanted = set(wanted)
    for _ in range(6):  # what needs one that is recent, or since a boot, waits for the next
        slurm.snapshot()
        with suppress(TimeoutError):
            system.settle(10.0)
            return
    system.settle()


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
    settle(system, "node1")
    assert system.statuses()["node1"] == "ACTIVE"
    assert set(system.outcomes()) == {"completed"}


def test_a_resume_after_the_reset_is_acted_upon_at_once(system: WholeSystem) -> None:
    assert system.request("suspend", "node2").returncode == 0
    settle(system)
    assert "run: lamplighter clock reset" in (system.folder / "hooks.log").read_text()
    view = shown(system)
    assert view["is_ahead"]
    assert view["stored_seconds_ahead"] == pytest.approx(AHEAD, abs=60)

    running = system.operator("clock", "reset", *REASON)
    assert (running.returncode, "workers are running: power" in running.stderr) == (1, True)
    assert shown(system)["is_ahead"]

    stop(system)
    until(lambda: shown(system)["obstacles"] == [], 20, "nothing in flight")
    unconfirmed = system.operator("clock", "reset", "--reason", "the time was wrong")
    assert (unconfirmed.returncode, shown(system)["is_ahead"]) == (2, True)
    done = system.operator("clock", "reset", *REASON)
    assert done.returncode == 0, done.stderr
    assert not shown(system)["is_ahead"]
    again = system.operator("clock", "reset", *REASON)
    assert (again.returncode, "nothing to reset" in again.stdout) == (0, True)

    start(system)
    is_acted_upon(system)
    (notice,) = [e for e in system.records() if e.type == "lamplighter.clock.reset.v1"]
    details = json.loads(notice.body)["data"]["details"]
    assert details["reason"] == "the time was wrong"
    assert int(details["from"]) - int(details["to"]) == pytest.approx(AHEAD * NS, abs=60 * NS)
    check(system)


def test_a_reset_is_refused_while_a_request_from_the_future_waits_anywhere(
    system: WholeSystem,
) -> None:
    stop(system)
    assert system.request("suspend", "node2").returncode == 0
    refused = system.operator("clock", "reset", *REASON)
    assert (refused.returncode, "1 requests are in power.suspend" in refused.stderr) == (1, True)
    assert shown(system)["is_ahead"]
    start(system)
    settle(system)
    check(system)


@pytest.mark.parametrize("step", ["published", "lowered", "written"])
def test_a_kill_at_any_step_leaves_a_safe_state(system: WholeSystem, step: str) -> None:
    """The next request is acted upon, and the reset can be repeated."""
    stop(system)
    until(lambda: shown(system)["obstacles"] == [], 20, "nothing in flight")
    before = clock.last_generation(system.settings.hook.state)
    words = [str(word) for word in system.command("clock", "reset", *REASON)]
    killed = subprocess.run(
        [words[0], "-c", DOOMED, *words[3:]], cwd=ROOT, env={"STEP": step}, check=False
    )
    assert killed.returncode == -9
    last = clock.last_generation(system.settings.hook.state)
    assert (last < before) is (step == "written")
    assert shown(system)["is_ahead"] is (step != "written")
    start(system)
    is_acted_upon(system)
    stop(system)
    until(lambda: shown(system)["obstacles"] == [], 20, "nothing in flight")
    done = system.operator("clock", "reset", *REASON)
    assert done.returncode == 0, done.stderr
    assert not shown(system)["is_ahead"]
    start(system)
    assert system.request("suspend", "node1").returncode == 0
    settle(system)
    check(system)
