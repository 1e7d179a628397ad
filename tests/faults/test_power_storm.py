"""P1, P2, P3 at once: every worker is killed -9 again and again while what is wanted changes."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.testbed.postgresql import PostgreSQL
from tests.testbed.stores import SQLITE_PAIR
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

# On SQLite: a parameter of the test.

ROUNDS = 8
# two power workers share the load; the name tells what kind of worker it is
VICTIMS = {"power": "power", "second": "power", "audit": "audit", "tokens": "tokens"}


@pytest.mark.parametrize("shared", [False, True], ids=["sqlite", "postgresql"])
def test_every_worker_killed_again_and_again_under_changing_wishes(
    run_dir: Path, broker_url: str, *, shared: bool
) -> None:
    """50 nodes: seeded chance decides who is asked what, and who dies after how many events."""
    chance = random.Random(20261124)  # noqa: S311 - seeded, so that a failure comes again
    with PostgreSQL(run_dir / "postgresql") if shared else nullcontext() as server:
        plan = SystemPlan(
            nodes=50,
            boot=1.0,
            stop=0.5,
            power="poll_interval = 0.3\nlease = 8\napi_timeout = 4",
            store=(server.create_database(), server.create_database()) if server else SQLITE_PAIR,
        )
        with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
            system.worker("power", "second")
            for _ in range(ROUNDS):
                recorded = len(system.records())
                some = chance.sample(system.nodes, 40)
                system.request("resume", ",".join(some[:20]))
                system.request("suspend", ",".join(some[20:]))
                # at least their 40 acceptances will be recorded, whoever died before
                enough = recorded + chance.randrange(1, 40)
                until(lambda: len(system.records()) >= enough, 60, "some events")  # noqa: B023 - at once
                for victim in chance.sample(sorted(VICTIMS), 2):
                    system.workers[victim].kill()
                    system.worker(VICTIMS[victim], victim)
            system.settle(120)
            system.check()
