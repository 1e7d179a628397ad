"""kill -9 of the power worker, wherever it is: nothing is lost, nothing is said twice."""

from __future__ import annotations

import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.testbed.fleet import ROOT, Fleet, Plan
from tests.testbed.processes import Child
from tests.testbed.simcloud.effects import Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# What a killed worker has sent has its time, the API's, before its successor ends anything.
BRISK = "poll_interval = 0.3\napi_timeout = 4\nlease = 20"


@pytest.fixture
def fleet(run_dir: Path, broker_url: str) -> Iterator[Fleet]:
    with Fleet(run_dir / "fleet", broker_url, Plan(nodes=5, power=BRISK)) as running:
        yield running


def test_killed_between_the_call_and_its_answer(fleet: Fleet) -> None:
    """The calls are performed, their answers withheld; the next worker starts nothing twice."""
    fleet.cloud.inject(Fault(effect=Hang(seconds=60, performed=True), kind="start", times=5))
    fleet.ask("resume")
    until(lambda: fleet.cloud.counts().get("start", 0) == 5, 20, "five start calls")
    fleet.workers["power"].kill()
    fleet.worker("power")
    fleet.settle()
    fleet.check()
    assert fleet.outcomes() == {"completed": 5}
    assert fleet.cloud.counts()["start"] == 5


def test_killed_between_the_acceptance_and_the_call(fleet: Fleet) -> None:
    fleet.cloud.inject(Fault(effect=Hang(seconds=60), kind="lists"))
    fleet.ask("resume")
    until(lambda: len(fleet.records(happenings=("accepted",))) == 5, 20, "five acceptances")
    fleet.workers["power"].kill()
    fleet.cloud.clear_faults()
    fleet.worker("power")
    fleet.settle()
    fleet.check()
    assert fleet.cloud.counts()["start"] == 5


DIES_AT_ACK = """
import os, signal, sys
from workers.amqp import Link
Link.ack = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from workers.power.main import main
from workers.settings import load
from pathlib import Path
sys.exit(main(load(Path(sys.argv[1]))))
"""


def test_killed_between_the_event_and_the_acknowledgement(run_dir: Path, broker_url: str) -> None:
    """The event is said again, the same; the audit has it once."""
    plan = Plan(power=BRISK)
    with Fleet(run_dir / "fleet", broker_url, plan, start=("tokens", "audit")) as fleet:
        config = fleet.settings.path
        dying = Child(
            [sys.executable, "-c", DIES_AT_ACK, config], log=run_dir / "dying.log", cwd=ROOT
        )
        fleet.ask("resume")
        assert dying.wait(40) == -signal.SIGKILL
        fleet.worker("power")
        fleet.settle()
        fleet.check()
        assert fleet.outcomes() == {"completed": 3}
        assert fleet.cloud.counts()["start"] == 3


def test_a_frozen_worker_whose_lease_has_gone_does_no_harm_when_it_wakes(
    run_dir: Path, broker_url: str
) -> None:
    """P2: another worker has the nodes by then, and Slurm has changed its mind."""
    plan = Plan(nodes=8, power="poll_interval = 0.3\nlease = 4\napi_timeout = 2", boot=3.0)
    with Fleet(run_dir / "fleet", broker_url, plan) as fleet:
        fleet.ask("resume")
        until(lambda: fleet.cloud.counts().get("start", 0) == 8, 20, "eight start calls")
        fleet.workers["power"].send(signal.SIGSTOP)
        fleet.worker("power", "second")
        until(lambda: "broker_connected" in fleet.log("second"), 30, "the second worker")
        fleet.ask("suspend")
        # the broker deals the commands out to both; the frozen one's share waits with it
        until(lambda: fleet.outcomes().get("completed", 0) >= 1, 60, "a suspend by the second")
        fleet.workers["power"].send(signal.SIGCONT)
        fleet.settle(90)
        fleet.check()


def test_two_workers_killed_again_and_again_under_changing_wishes(
    run_dir: Path, broker_url: str
) -> None:
    """P1, P2, P3 with 40 nodes: seeded chance decides who is asked what and who dies when."""
    chance = random.Random(20261124)  # noqa: S311 - seeded, so that a failure comes again
    plan = Plan(
        nodes=40,
        power="poll_interval = 0.3\nlease = 6\napi_timeout = 2\nattempts = 50",
        boot=1.0,
        stop=0.5,
    )
    with Fleet(run_dir / "fleet", broker_url, plan) as fleet:
        fleet.worker("power", "second")
        for _ in range(6):
            some = ",".join(chance.sample(fleet.nodes, 25))
            fleet.ask(chance.choice(["resume", "suspend"]), some)
            until(lambda: fleet.depths() == {}, 30, "the commands to be taken")
            victim = chance.choice(["power", "second"])
            fleet.workers[victim].kill()
            fleet.worker("power", victim)
        fleet.settle(120)
        fleet.check()
