"""A listing that says nothing of servers that are there, as Nova's of a cell that it cannot reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.events import Transition
from tests.testbed.powerbench import NODES
from tests.testbed.requests import resume, suspend
from tests.testbed.simcloud.effects import Answer, Says
from tests.testbed.simcloud.faults import Fault
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


@pytest.fixture(params=["shows them", "does not answer"])
def lacks_servers(request: pytest.FixtureRequest, power_cloud: SimCloud) -> Callable[[], bool]:
    """Let listings be empty; the cloud shows single servers, or it cannot: returns whether it can."""

    def begin() -> bool:
        power_cloud.inject(EMPTY)
        if request.param == "does not answer":
            power_cloud.inject(Fault(effect=Answer(status=500), kind="get"))
        return bool(request.param == "shows them")

    return begin


def completes(bench: PowerBench, *asked: PowerCommand) -> None:
    assert {told.transition for told in bench.endings(*asked, timeout=60)} == {COMPLETED}


def wait(bench: PowerBench, *asked: PowerCommand) -> None:
    """Each of them waits because its server is not seen, and none has failed."""
    for one in asked:
        bench.saw(one, PARKED, 60)
        causes = {told.cause.error for told in bench.events(one) if told.cause is not None}
        assert causes == {SERVER_UNSEEN}


def test_no_boot_fails_while_a_listing_lacks_the_servers(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
    lacks_servers: Callable[[], bool],
) -> None:
    bench = open_power_bench()
    for make in (resume, suspend):
        asked = [make(node) for node in NODES]
        bench.ask(*asked)
        completes(bench, *asked)
    are_shown = lacks_servers()
    ups = [resume(node) for node in NODES]
    bench.ask(*ups)
    if not are_shown:
        wait(bench, *ups)
        power_cloud.clear_faults()
    completes(bench, *ups)


def test_no_second_server_is_created_while_a_listing_lacks_the_first(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
    lacks_servers: Callable[[], bool],
) -> None:
    power_cloud.remove_servers()
    are_shown = lacks_servers()
    bench = open_power_bench(group=TEMPLATE)
    ups = [resume(node) for node in NODES]
    bench.ask(*ups)
    if not are_shown:
        wait(bench, *ups)
        power_cloud.clear_faults()
    completes(bench, *ups)
    assert power_cloud.counts()["create"] == len(NODES)
