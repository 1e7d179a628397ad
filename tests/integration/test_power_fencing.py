"""On a real broker and store: no round ends before a call that may still take effect has had its time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.events import Transition
from tests.testbed.deliveries import pending
from tests.testbed.requests import resume, starts, stops, suspend
from tests.testbed.simcloud.effects import Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from workers.store.lease_owner import Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.testbed.powerbench import PowerBench
    from tests.testbed.simcloud.handle import SimCloud

# The SDK warns of deprecated parts of itself that it still uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
COMPLETED, SUPERSEDED = Transition.COMPLETED, Transition.SUPERSEDED


def listings(cloud: SimCloud) -> int:
    return cloud.counts().get("list_detail", 0)


def test_the_last_call_of_a_killed_worker_is_undone_before_the_resume_ends(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    power_cloud.set_power("main1", on=True)
    # On SQLite: only there the lease of a killed worker ends at once.
    bench = open_power_bench(power={"api_timeout": 2.0}, store='url = "sqlite:///state.db"')
    down, up = suspend(), resume(after=0.001)
    killed = Owner(bench.store.url)
    bench.power_store(killed).accept([pending(down)], [], down.generation)
    descriptor, killed._descriptor = killed._descriptor, None
    assert descriptor is not None
    os.close(descriptor)  # as the kernel does, which leaves the file behind

    bench.ask(up)
    bench.saw(up, Transition.ACCEPTED)
    seen = listings(power_cloud)
    until(lambda: listings(power_cloud) >= seen + 3, 20, "listings that show the node as running")
    assert bench.transitions(up) == [Transition.ACCEPTED]
    power_cloud.set_power("main1", on=False)

    told = bench.ending(up)
    assert (told.transition, told.attempt) == (COMPLETED, 0)
    assert power_cloud.servers()["main1"].status == "ACTIVE"
    assert (starts(power_cloud), stops(power_cloud)) == (1, 0)
    bench.ask(down)
    assert bench.ending(down).transition is SUPERSEDED


def test_when_the_store_goes_away_during_a_call_its_answer_is_still_waited_for(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    def rename(old: str, new: str) -> None:
        with power_bench.store.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))

    power_cloud.set_power("main1", on=True)
    power_cloud.inject(Fault(effect=Hang(seconds=4.0), kind="stop", times=1))
    down, up = suspend(), resume(after=0.001)
    power_bench.ask(down)
    until(lambda: stops(power_cloud) == 1, 20, "the stop call")
    rename("nodes", "nodes_away")
    until(lambda: "waits for the store" in power_bench.engine.state, 20, "the store to be missed")
    rename("nodes_away", "nodes")
    power_bench.ask(up)
    power_bench.saw(up, Transition.ACCEPTED)
    assert power_cloud.servers()["main1"].status == "ACTIVE"

    older, newer = power_bench.endings(down, up)
    assert (older.transition, newer.transition) == (SUPERSEDED, COMPLETED)
    assert power_cloud.servers()["main1"].status == "ACTIVE"
    assert (starts(power_cloud), stops(power_cloud)) == (1, 1)
    assert [action.action for action in older.actions] == ["os-stop"]
    power_bench.idle()
