"""A rolling restart, as an upgrade does it: no request is lost, none is carried out twice."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Literal

from tests.testbed.waiting import until
from tests.testbed.whole_system import WORKERS, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

NODES = 40


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
