"""Several power workers share a fleet on one PostgreSQL store: nothing is done twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.testbed.consumers import all_consume
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.postgresql import PostgreSQL

NODES = 100


def test_two_workers_share_a_hundred_nodes_with_one_call_and_one_outcome_a_request(
    run_dir: Path, broker_url: str, postgresql: PostgreSQL
) -> None:
    store = postgresql.create_database(), postgresql.create_database()
    with WholeSystem(run_dir / "fleet", broker_url, SystemPlan(NODES, store=store)) as system:
        system.worker("power", "power-2")
        until(lambda: all_consume(system.settings, power_workers=2), 60, "two power workers")
        until(system.cloud.counts, 20, "a login before the first request")
        for kind, call in (("resume", "start"), ("suspend", "stop")):
            system.cloud.reset_counts()
            system.request(kind)  # type: ignore[arg-type]
            system.settle()
            calls = [made for made in system.cloud.call_counts().action_calls if made.kind == call]
            assert Counter(made.server for made in calls) == dict.fromkeys(system.nodes, 1), kind
        assert set(system.ended().values()) == {1}
        assert system.outcomes() == {"completed": 2 * NODES}
        worked = {name: system.log(name).count("request_ended") for name in ("power", "power-2")}
        assert all(worked.values()), worked
        system.check()
