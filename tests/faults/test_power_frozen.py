"""P2: a power worker that is frozen, and wakes when others have long gone on without it."""

from __future__ import annotations

import signal
import sys
import time
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
from workers.store.nodes import NodeTable
from workers.power.main import main
from workers.config.settings import load
release, frozen = NodeTable.release, []
def freezes(table, connection, names):
    release(table, connection, names)
    if names and not frozen:
        frozen.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)
NodeTable.release = freezes
sys.exit(main(load(Path(sys.argv[1]))))
"""


def test_a_frozen_worker_whose_lease_has_gone_does_no_harm_when_it_wakes(
    run_dir: Path, broker_url: str
) -> None:
    """P2: another worker has the nodes by then, and Slurm has changed its mind."""
    plan = SystemPlan(nodes=8, power="poll_interval = 0.3\nlease = 4\napi_timeout = 2", boot=3.0)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.request("resume")
        until(lambda: system.cloud.counts().get("start", 0) == 8, 20, "eight start calls")
        system.freeze("power")
        system.worker("power", "second")
        until(lambda: "broker_connected" in system.log("second"), 30, "the second worker")
        system.request("suspend")
        # the broker deals the commands out to both; the frozen one's share waits with it
        until(lambda: system.outcomes().get("completed", 0) >= 1, 60, "a suspend by the second")
        system.workers["power"].send(signal.SIGCONT)
        system.settle(90)
        system.check()


def test_boots_that_went_well_while_the_worker_was_stopped_complete(
    run_dir: Path, broker_url: str
) -> None:
    """Their boot_timeout ran out meanwhile: only what is listed after that may end them."""
    plan = SystemPlan(nodes=4, boot=2.0, group="boot_timeout = 4.0")
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.request("resume")
        until(lambda: system.cloud.counts().get("start", 0) == 4, 20, "four start calls")
        called = time.monotonic()
        system.freeze("power")
        until(lambda: set(system.statuses().values()) == {"ACTIVE"}, 20, "the boots")
        until(lambda: time.monotonic() > called + 5.0, 20, "the end of boot_timeout")
        system.workers["power"].send(signal.SIGCONT)
        system.settle(60)
        system.check()
        assert system.outcomes() == {"completed": 4}


def test_a_worker_frozen_within_its_transaction_holds_others_up_for_seconds_only(
    run_dir: Path, broker_url: str
) -> None:
    """Its rows are locked, in a database that several hosts share; nobody there could kill it."""
    power = "poll_interval = 0.3\nlease = 8\napi_timeout = 4"
    with PostgreSQL(run_dir / "postgresql") as server:
        plan = SystemPlan(
            nodes=8, power=power, store=(server.create_database(), server.create_database())
        )
        with WholeSystem(run_dir / "fleet", broker_url, plan, start=("tokens", "audit")) as system:
            argv = [sys.executable, "-c", FREEZES, str(system.settings.path)]
            with Child(argv, log=system.folder / "power.log", cwd=ROOT) as frozen:
                process = psutil.Process(frozen.pid)
                system.request("resume")
                until(lambda: process.status() == psutil.STATUS_STOPPED, 60, "the freeze")
                system.worker("power", "second")
                until(lambda: "broker_connected" in system.log("second"), 30, "the second worker")
                system.request("suspend")
                # the broker deals the commands out to both; the frozen one's share waits with it
                until(lambda: system.outcomes()["completed"] >= 1, 60, "a suspend by the second")
                frozen.send(signal.SIGCONT)
                system.settle(90)
                system.check()
                assert frozen.stop() == 0
