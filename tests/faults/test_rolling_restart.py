"""A rolling restart, as an upgrade does it: no request is lost, none is carried out twice."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Literal

from tests.testbed.waiting import until
from tests.testbed.whole_system import WORKERS, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

NODES = 40
# No idle worker waits longer than these seconds for something to do.
LONGEST_WAIT = 1.5


def _has_begun(system: WholeSystem, call: str) -> bool:
    return system.cloud.counts().get(call, 0) >= 5


def test_requests_in_flight_survive_the_restart_of_each_worker(
    run_dir: Path, broker_url: str
) -> None:
    """Each worker ends by itself on SIGTERM, in the middle of resumes and of suspends."""
    plan = SystemPlan(nodes=NODES, latency=0.1, boot=1.0)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        asked: tuple[tuple[Literal["resume", "suspend"], str], ...] = (
            ("resume", "start"),
            ("suspend", "stop"),
        )
        for what, call in asked:
            assert system.request(what).returncode == 0
            until(partial(_has_begun, system, call), 30, "some calls")
            for name in WORKERS:
                system.workers[name].send(signal.SIGTERM)
                assert system.workers[name].wait(30) == 0
                system.worker(name)
            system.ready()
            system.settle(120)
        system.check()
        assert system.outcomes() == {"completed": 2 * NODES}
        assert not system.records(transitions=("retried",))
        counts = system.cloud.counts()
        assert (counts["start"], counts["stop"]) == (NODES, NODES)


def test_workers_that_were_frozen_while_idle_end_on_sigterm(run_dir: Path, broker_url: str) -> None:
    """The signal comes when what they wait for is long overdue, as on a machine that was suspended."""
    kinds = (*WORKERS, "resync")
    plan = SystemPlan(more="[resync]\nenabled = true")
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=kinds) as system:
        system.ready()
        for name in kinds:
            system.freeze(name)
        overdue = time.monotonic() + LONGEST_WAIT
        until(lambda: time.monotonic() > overdue, 30, "the end of what the workers wait for")
        for number in (signal.SIGTERM, signal.SIGCONT):
            for name in kinds:
                system.workers[name].send(number)
        assert [system.workers[name].wait(30) for name in kinds] == [0] * len(kinds)
