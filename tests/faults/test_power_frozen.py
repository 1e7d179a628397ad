"""P2: a power worker that is frozen, and wakes when others have long gone on without it."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import psutil

from tests.testbed.postgresql import PostgreSQL
from tests.testbed.processes import Child
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

# a worker that freezes itself once, within the transaction that ends its first requests
FREEZES = """
import os, signal, sys
from pathlib import Path
from workers.power import desired_state as desired
from workers.power.main import main
from workers.config.settings import load
release, frozen = desired.release, []
def freezes(*words):
    release(*words)
    if not frozen:
        frozen.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)
desired.release = freezes
sys.exit(main(load(Path(sys.argv[1]))))
"""


def test_a_frozen_worker_whose_lease_has_gone_does_no_harm_when_it_wakes(
    run_dir: Path, broker_url: str
) -> None:
    """P2: another worker has the nodes by then, and Slurm has changed its mind."""
    plan = SystemPlan(nodes=8, power="poll_interval = 0.3\nlease = 4\napi_timeout = 2", boot=3.0)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as fleet:
        fleet.ask("resume")
        until(lambda: fleet.cloud.counts().get("start", 0) == 8, 20, "eight start calls")
        fleet.freeze("power")
        fleet.worker("power", "second")
        until(lambda: "broker_connected" in fleet.log("second"), 30, "the second worker")
        fleet.ask("suspend")
        # the broker deals the commands out to both; the frozen one's share waits with it
        until(lambda: fleet.outcomes().get("completed", 0) >= 1, 60, "a suspend by the second")
        fleet.workers["power"].send(signal.SIGCONT)
        fleet.settle(90)
        fleet.check()


def test_a_worker_frozen_within_its_transaction_holds_others_up_for_seconds_only(
    run_dir: Path, broker_url: str
) -> None:
    """Its rows are locked, in a database that several hosts share; nobody there could kill it."""
    power = "poll_interval = 0.3\nlease = 8\napi_timeout = 4"
    with PostgreSQL(run_dir / "postgresql") as server:
        plan = SystemPlan(
            nodes=8, power=power, store=(server.create_database(), server.create_database())
        )
        with WholeSystem(run_dir / "fleet", broker_url, plan, start=("tokens", "audit")) as fleet:
            argv = [sys.executable, "-c", FREEZES, str(fleet.settings.path)]
            with Child(argv, log=fleet.folder / "power.log", cwd=ROOT) as frozen:
                process = psutil.Process(frozen.pid)
                fleet.ask("resume")
                until(lambda: process.status() == psutil.STATUS_STOPPED, 60, "the freeze")
                fleet.worker("power", "second")
                until(lambda: "broker_connected" in fleet.log("second"), 30, "the second worker")
                fleet.ask("suspend")
                # the broker deals the commands out to both; the frozen one's share waits with it
                until(lambda: fleet.outcomes()["completed"] >= 1, 60, "a suspend by the second")
                frozen.send(signal.SIGCONT)
                fleet.settle(90)
                fleet.check()
                assert frozen.stop() == 0
