"""kill -9 of the power worker, wherever it is: nothing is lost, nothing is said twice."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.testbed.processes import Child
from tests.testbed.simcloud.effects import Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# What a killed worker has sent has its time, the API's, before its successor ends anything.
BRISK = "poll_interval = 0.3\napi_timeout = 4\nlease = 20"


@pytest.fixture
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    with WholeSystem(run_dir / "fleet", broker_url, SystemPlan(nodes=5, power=BRISK)) as running:
        yield running


def test_killed_between_the_call_and_its_answer(system: WholeSystem) -> None:
    """The calls are performed, their answers withheld; the next worker starts nothing twice."""
    system.cloud.inject(Fault(effect=Hang(seconds=60, performed=True), kind="start", times=5))
    system.request("resume")
    until(lambda: system.cloud.counts().get("start", 0) == 5, 20, "five start calls")
    system.workers["power"].kill()
    system.worker("power")
    system.settle()
    system.check()
    assert system.outcomes() == {"completed": 5}
    assert system.cloud.counts()["start"] == 5


def test_killed_between_the_acceptance_and_the_call(system: WholeSystem) -> None:
    system.cloud.inject(Fault(effect=Hang(seconds=60), kind="lists"))
    system.request("resume")
    until(lambda: len(system.records(transitions=("accepted",))) == 5, 20, "five acceptances")
    system.workers["power"].kill()
    system.cloud.clear_faults()
    system.worker("power")
    system.settle()
    system.check()
    assert system.cloud.counts()["start"] == 5


DIES_AT_ACK = """
import os, signal, sys
from workers.broker.link import Link
Link.ack = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from workers.power.main import main
from workers.config.settings import load
from pathlib import Path
sys.exit(main(load(Path(sys.argv[1]))))
"""


def test_killed_between_the_event_and_the_acknowledgement(run_dir: Path, broker_url: str) -> None:
    """The event is said again, the same; the audit has it once."""
    plan = SystemPlan(power=BRISK)
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=("tokens", "audit")) as system:
        config = system.settings.path
        dying = Child(
            [sys.executable, "-c", DIES_AT_ACK, config], log=run_dir / "dying.log", cwd=ROOT
        )
        system.request("resume")
        assert dying.wait(40) == -signal.SIGKILL
        system.worker("power")
        system.settle()
        system.check()
        assert system.outcomes() == {"completed": 3}
        assert system.cloud.counts()["start"] == 3
