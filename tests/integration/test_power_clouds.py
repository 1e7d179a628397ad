"""P4: what goes wrong with a whole cloud costs time, never a request, and no other cloud's time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from schemas.events import Transition
from tests.testbed.powerbench import NODES
from tests.testbed.requests import resume, starts, suspend
from tests.testbed.simcloud.effects import Answer, Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import ServerSpec
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.link import Link
from workers.clouds.driver import CloudDriver, Listed
from workers.errors import TokenServiceAwayError
from workers.store.heartbeats import PROBLEM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schemas.commands import PowerCommand
    from schemas.events import RequestEvent
    from schemas.server import Server
    from tests.testbed.powerbench import PowerBench

    Opens = Callable[..., PowerBench]

# The SDK warns of deprecated parts of itself that it still uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
COMPLETED = Transition.COMPLETED


def parked(bench: PowerBench, asked: PowerCommand) -> list[RequestEvent]:
    return [event for event in bench.events(asked) if event.transition is Transition.PARKED]


@pytest.mark.parametrize("reset", [False, True], ids=["503", "connection reset"])
def test_requests_outlive_an_outage_without_an_attempt(
    power_bench: PowerBench,
    power_cloud: SimCloud,
    reset: bool,  # noqa: FBT001
) -> None:
    asked = [resume(node) for node in NODES]
    power_cloud.outage(on=True, looks_like_reset=reset)
    power_bench.ask(*asked)
    for one in asked:
        power_bench.saw(one, Transition.PARKED)
    power_cloud.outage(on=False)
    told = power_bench.endings(*asked, timeout=40)
    assert {(event.transition, event.attempt) for event in told} == {(COMPLETED, 0)}
    assert starts(power_cloud) == len(NODES)
    power_bench.idle()
    assert power_bench.site.depth(topology.DEAD_LETTER_QUEUE) == 0
    for one in asked:
        [event] = parked(power_bench, one)
        assert event.attempt == 0


def test_without_tokens_for_one_cloud_consumption_goes_on_for_the_other(
    open_power_bench: Opens,
    power_cloud: SimCloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither pauses the other, nor does its good token resume anything: nothing flaps."""
    with SimCloud() as other:
        other.add_servers([ServerSpec(name="other1")])
        away, paused, real = [True], list[bool](), CloudDriver._list

        def _list(
            self: CloudDriver, since: str | None, asked: float, known: Mapping[str, Server] | None
        ) -> None:
            if self.name == "other" and away[0]:
                error = TokenServiceAwayError("nobody answers")
                self._post(Listed(self.name, asked, known is not None, error))
            else:
                real(self, since, asked, known)

        monkeypatch.setattr(CloudDriver, "_list", _list)
        monkeypatch.setattr(Link, "pause", lambda _self: paused.append(True))
        bench = open_power_bench({"main": power_cloud, "other": other})
        waits, well = resume("other1"), [resume(node) for node in NODES[:3]]
        bench.ask(waits, *well)
        assert {one.transition for one in bench.endings(*well)} == {COMPLETED}
        assert bench.transitions(waits) == [Transition.ACCEPTED]
        away[0] = False
        assert bench.ending(waits).transition is COMPLETED
        assert (paused, starts(other)) == ([], 1)


@pytest.mark.parametrize("kind", ["outage", "brown-out", "no rights", "calls refused"])
def test_a_cloud_that_is_away_for_long_logs_no_more_lines_than_one_that_is_away_briefly(
    power_bench: PowerBench, power_cloud: SimCloud, kind: str
) -> None:
    """Two lines a node, however often its request rests, and one for its refused call; one for the cloud."""
    turns = 5
    if kind == "outage":
        power_cloud.outage(on=True)
    elif kind == "brown-out":
        power_cloud.inject(Fault(effect=Answer(status=503), kind="start"))
    elif kind == "calls refused":
        power_cloud.inject(Fault(effect=Answer(status=401), kind="start"))
    else:
        power_cloud.inject(Fault(effect=Answer(status=401), kind="lists"))
    asked = [resume(node) for node in NODES]
    with capture_logs() as logs:
        power_bench.ask(*asked)

        def rests() -> Counter[str]:
            return Counter(line["node"] for line in list(logs) if line["event"] == "request_parked")

        until(lambda: min(rests()[node] for node in NODES) >= turns, 60, "several rests of each")
    told = Counter(
        (line["event"], line.get("node")) for line in logs if line["log_level"] != "debug"
    )
    del told["broker_connected", None]
    lists = kind in {"brown-out", "calls refused"}
    events = ["request_accepted", "request_parked", *(["call_answered"] * lists)]
    once = {(event, node) for event in events for node in NODES}
    assert told == Counter(once | {("cloud_does_not_act" if lists else "cloud_away", None)})
    assert power_bench.engine.state.startswith(PROBLEM)
    assert "away: main: " in power_bench.engine.state


def test_an_outage_that_begins_in_mid_boot_ends_no_request(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.set(boot_seconds=0.5)
    up = resume()
    power_bench.ask(up)
    until(lambda: starts(power_cloud) == 1, 20, "the call")
    power_cloud.outage(on=True)
    power_bench.saw(up, Transition.PARKED)
    power_cloud.outage(on=False)
    told = power_bench.ending(up, timeout=40)
    assert (told.transition, told.attempt) == (COMPLETED, 0)
    assert [a.action for a in told.actions] == ["os-start"]
    assert starts(power_cloud) == 1


def test_actions_that_fail_while_listings_come_burn_no_attempts_of_many_nodes(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """With two attempts only, each of nine nodes outlives many rounds of a brown-out."""
    bench = open_power_bench(power={"attempts": 2})
    power_cloud.inject(Fault(effect=Answer(status=503), kind="start"))
    asked = [resume(node) for node in NODES]
    bench.ask(*asked)
    until(lambda: starts(power_cloud) >= 30, 40, "thirty failed calls")
    power_cloud.clear_faults()
    told = bench.endings(*asked, timeout=40)
    assert {event.transition for event in told} == {COMPLETED}
    assert bench.site.depth(topology.DEAD_LETTER_QUEUE) == 0


def test_a_sick_cloud_does_not_hold_up_another(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    with SimCloud() as well:
        well.set(boot_seconds=0.3, stop_seconds=0.2)
        well.add_servers([f"well{number}" for number in range(1, 10)])
        bench = open_power_bench({"well": well})
        power_cloud.inject(Fault(effect=Hang(seconds=10), kind="compute"))
        sick = [resume(node) for node in NODES]
        sound = [resume(f"well{number}") for number in range(1, 10)]
        bench.ask(*sick, *sound)
        told = bench.endings(*sound)
        assert {event.transition for event in told} == {COMPLETED}
        assert not [event for event in bench.events() if event.node in NODES and event.actions]
        power_cloud.clear_faults()
        assert {event.transition for event in bench.endings(*sick, timeout=60)} == {COMPLETED}


def test_what_is_held_too_long_rests_and_comes_again_with_its_attempts(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """The broker ends consumers that keep a delivery for half an hour."""
    power_cloud.set(boot_seconds=2.5)
    bench = open_power_bench(power={"hold": 0.5})
    up = resume()
    bench.ask(up)
    bench.saw(up, Transition.PARKED)
    told = bench.ending(up)
    assert (told.transition, told.attempt) == (COMPLETED, 0)
    assert parked(bench, up)[0].cause is not None
    assert starts(power_cloud) == 1


def test_a_newer_wish_does_not_inherit_what_an_older_one_has_met(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    """A stop that is refused for good while a resume arrives must not end the resume."""
    power_cloud.set_power("main1", on=True)
    power_cloud.set_latency(0.7)
    power_cloud.inject(Fault(effect=Answer(status=403), kind="stop"))
    down, up = suspend(), resume(after=0.001)
    power_bench.ask(down)
    until(lambda: power_cloud.counts().get("stop"), 20, "the stop call", interval=0.01)
    power_bench.ask(up)
    older, newer = power_bench.endings(down, up)
    assert [action.result for action in older.actions] == ["quota"]
    assert (older.transition, newer.transition) == (Transition.SUPERSEDED, COMPLETED)
    assert power_cloud.servers()["main1"].status == "ACTIVE"
    assert power_bench.site.depth(topology.DEAD_LETTER_QUEUE) == 0
