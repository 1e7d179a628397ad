"""The engine on a real broker and a simulated cloud: requests end as promised, whatever comes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from schemas.events import Cause, Transition
from tests.testbed.deliveries import pending
from tests.testbed.powerbench import NODES
from tests.testbed.requests import resume, starts, stops, suspend
from tests.testbed.waiting import until
from workers.store.power_store import Batch

if TYPE_CHECKING:
    from tests.testbed.powerbench import PowerBench
    from tests.testbed.simcloud.handle import SimCloud

# The SDK warns of deprecated parts of itself that it still uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
COMPLETED, SUPERSEDED = Transition.COMPLETED, Transition.SUPERSEDED


# -- what is asked comes to be


def test_a_node_is_lit_and_put_out_with_one_call_each(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    up = resume()
    power_bench.ask(up)
    told = power_bench.ending(up)
    assert told.transition is COMPLETED
    server = power_cloud.servers()["main1"]
    assert (told.cloud, told.server_id, told.address) == ("main", server.id, server.address)
    assert [(a.action, a.result) for a in told.actions] == [("os-start", "done")]
    assert server.status == "ACTIVE"

    down = suspend()
    power_bench.ask(down)
    told = power_bench.ending(down)
    assert (told.transition, told.address) == (COMPLETED, None)
    assert [(a.action, a.result) for a in told.actions] == [("os-stop", "done")]
    assert power_cloud.servers()["main1"].status == "SHUTOFF"
    assert (starts(power_cloud), stops(power_cloud)) == (1, 1)
    assert power_bench.transitions(up) == [Transition.ACCEPTED, COMPLETED]
    power_bench.idle()


def test_what_is_so_already_completes_without_a_call(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    down = suspend()
    power_bench.ask(down)
    assert power_bench.ending(down).transition is COMPLETED
    assert (starts(power_cloud), stops(power_cloud)) == (0, 0)


def test_one_listing_a_poll_serves_all_nodes(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.set(boot_seconds=1.0)
    asked = [resume(node) for node in NODES]
    power_bench.ask(*asked)
    power_bench.endings(*asked)
    assert starts(power_cloud) == 9
    counts = power_cloud.counts()
    assert counts["list_detail"] <= 40
    assert not {"get", "list", "list_page"} & set(counts)


# -- P3: duplicates, reordering, redelivery


def test_duplicates_make_one_call_and_say_one_thing(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    up = resume()
    power_bench.ask(up, up, up)
    told = power_bench.ending(up)
    power_bench.idle()
    until(lambda: len(power_bench.bodies(told.id)) == 3, 20, "three completions")
    assert len(set(power_bench.bodies(told.id))) == 1
    assert starts(power_cloud) == 1


@pytest.mark.parametrize("late_acks", ["ignored", "refused"])
def test_what_comes_again_on_the_same_connection_makes_one_call(
    power_bench: PowerBench, power_cloud: SimCloud, late_acks: str
) -> None:
    """RabbitMQ 4.3 takes deliveries back at consumer_timeout, and ignores that they are acknowledged.

    So does basic.recover, after which all versions refuse such an acknowledgement: the channel closes.
    """
    power_cloud.set(boot_seconds=2.0)
    up, other = resume(), resume("main2")
    power_bench.ask(up, other)
    until(lambda: starts(power_cloud) == 2, 20, "the start calls")
    power_bench.take_back(ignoring=late_acks == "ignored")
    told = power_bench.endings(up, other)
    assert {end.transition for end in told} == {COMPLETED}
    power_bench.idle()
    assert starts(power_cloud) == 2
    for end in told:
        assert len(set(power_bench.bodies(end.id))) == 1


def test_a_delivery_after_the_end_says_the_same_again_and_does_nothing(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    up, down = resume(), suspend(after=0.001)
    power_bench.ask(up)
    told = power_bench.ending(up)
    power_bench.ask(down)
    power_bench.ending(down)
    power_bench.ask(up)
    until(lambda: len(power_bench.bodies(told.id)) == 2, 20, "the completion again")
    power_bench.idle()
    assert len(set(power_bench.bodies(told.id))) == 1
    assert (starts(power_cloud), stops(power_cloud)) == (1, 1)
    assert power_cloud.servers()["main1"].status == "SHUTOFF"


def test_a_suspend_that_comes_after_its_resume_is_superseded_and_stops_nothing(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    """The race of a late SuspendProgram."""
    down, up = suspend(), resume(after=0.001)
    power_bench.ask(up)
    assert power_bench.ending(up).transition is COMPLETED
    power_bench.ask(down)
    told = power_bench.ending(down)
    assert told.transition is SUPERSEDED
    assert told.cause == Cause("superseded", f"generation {up.generation} wants the node up")
    assert stops(power_cloud) == 0
    assert power_cloud.servers()["main1"].status == "ACTIVE"


def test_a_mind_changed_during_the_boot_is_followed(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.set(boot_seconds=0.8)
    up, down = resume(), suspend(after=0.001)
    power_bench.ask(up)
    until(lambda: starts(power_cloud) == 1, 20, "the start call")
    power_bench.ask(down)
    first, second = power_bench.endings(up, down)
    assert (first.transition, second.transition) == (SUPERSEDED, COMPLETED)
    assert [a.action for a in first.actions] == ["os-start"]
    assert [a.action for a in second.actions] == ["os-stop"]
    assert power_cloud.servers()["main1"].status == "SHUTOFF"


def test_a_generation_that_another_worker_accepts_is_followed_too(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.set(boot_seconds=2.0)
    up, down = resume(), suspend(after=0.001)
    power_bench.ask(up)
    until(lambda: starts(power_cloud) == 1, 20, "the start call")
    power_bench.other_worker().accept([pending(down)], [], time.time_ns())
    assert power_bench.ending(up).transition is SUPERSEDED
    assert power_cloud.servers()["main1"].status == "SHUTOFF"
    power_bench.ask(down)
    assert power_bench.ending(down).transition is COMPLETED


def test_while_another_worker_has_the_node_requests_rest_without_a_call(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    up = resume()
    other = power_bench.other_worker()
    other.accept([pending(up)], [], time.time_ns())
    power_bench.ask(up)
    power_bench.saw(up, Transition.PARKED)
    [parked] = [e for e in power_bench.events(up) if e.transition is Transition.PARKED]
    assert parked.cause is not None
    assert (parked.cause.error, parked.attempt) == ("lease_held", 0)
    assert starts(power_cloud) == 0
    other.commit(Batch(released={"main1"}), time.time_ns())
    assert power_bench.ending(up).transition is COMPLETED
    assert starts(power_cloud) == 1
