"""A listing that says nothing of servers that are there, as Nova's of a cell that it cannot reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.events import Transition
from tests.testbed.powerbench import NODES
from tests.testbed.requests import resume, suspend
from tests.testbed.simcloud.effects import Says
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from workers.clouds.decide import SERVER_UNSEEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.commands import PowerCommand
    from tests.testbed.powerbench import PowerBench
    from tests.testbed.simcloud.handle import SimCloud

# The SDK warns of deprecated parts of itself that it still uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
COMPLETED, PARKED = Transition.COMPLETED, Transition.PARKED
EMPTY = Fault(effect=Says(text='{"servers": []}'), kind="lists")
TEMPLATE = """strategy = "delete"
[groups.main.server]
image = "70a599e0-31e7-49b7-b260-868f441e862b"
flavor = "m1.tiny"
networks = ["none"]
"""
# Single servers are shown, so that a few nodes go on.
SHOWN = 3


def completes(bench: PowerBench, *asked: PowerCommand) -> None:
    assert {told.transition for told in bench.endings(*asked, timeout=40)} == {COMPLETED}


def waits(bench: PowerBench, *asked: PowerCommand) -> bool:
    """Whether all but a few wait because of that, and none has failed."""
    events = [event for one in asked for event in bench.events(one)]
    assert {event.transition for event in events if event.transition.terminal} <= {COMPLETED}
    parked = {e.node for e in events if e.cause is not None and e.cause.error == SERVER_UNSEEN}
    return len(parked) >= len(asked) - SHOWN


def test_no_boot_fails_while_a_listing_lacks_the_servers(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    bench = open_power_bench()
    for make in (resume, suspend):
        asked = [make(node) for node in NODES]
        bench.ask(*asked)
        completes(bench, *asked)
    power_cloud.inject(EMPTY)
    ups = [resume(node) for node in NODES]
    bench.ask(*ups)
    until(lambda: waits(bench, *ups), 30, "the requests to wait")
    power_cloud.clear_faults()
    completes(bench, *ups)


def test_no_second_server_is_created_while_a_listing_lacks_the_first(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    power_cloud.remove_servers()
    power_cloud.inject(EMPTY)
    bench = open_power_bench(group=TEMPLATE)
    ups = [resume(node) for node in NODES]
    bench.ask(*ups)
    until(lambda: waits(bench, *ups), 30, "the requests to wait")
    power_cloud.clear_faults()
    completes(bench, *ups)
    assert power_cloud.counts()["create"] == len(NODES)
