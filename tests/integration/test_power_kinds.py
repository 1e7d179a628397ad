"""Faults that cannot happen in the engine: old listings, stale identities, lost time, lost boots."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import requests

from schemas.commands import Kind, PowerCommand
from schemas.events import Transition
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.installation import CLUSTER
from tests.testbed.messages import CORRELATION, command
from tests.testbed.powerbench import NODES
from tests.testbed.requests import resume, starts, stops, suspend
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.effects import Answer, Hang, NeverCompletes
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.settings import ServerSpec
from tests.testbed.waiting import until
from workers.store import snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.testbed.powerbench import PowerBench
    from tests.testbed.simcloud.handle import SimCloud

pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
COMPLETED, FAILED = Transition.COMPLETED, Transition.FAILED
PARKED, RETRIED = Transition.PARKED, Transition.RETRIED
NS = 10**9
TEMPLATE = """
[groups.main.server]
image = "11111111-1111-4111-8111-111111111111"
flavor = "m1.tiny"
networks = ["none"]
"""


def from_slurm(asked: PowerCommand, seconds: float = 60.0) -> PowerCommand:
    """The same as a hook of Slurm's asks it: with an expiry."""
    return replace(asked, expiry=asked.generation + int(seconds * NS))


def shows(bench: PowerBench, *, ahead: float = 0.0, **states: str) -> None:
    """Slurm's newest snapshot shows these nodes so, and all others as powered down.

    `ahead`: seconds by which the hooks' clock is ahead.
    """
    nodes = tuple(SlurmNode(n, states.get(n, "IDLE+CLOUD+POWERED_DOWN")) for n in NODES)
    with bench.store.begin() as connection:
        generation = time.time_ns() + int(ahead * NS)
        taken = Snapshot(CLUSTER, generation, CORRELATION, "host", nodes)
        assert snapshots.keep_snapshot(connection, taken)


class Nova:
    """Calls that an administrator makes with OpenStack's own tools."""

    def __init__(self, cloud: SimCloud) -> None:
        auth = {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {
                        "name": credentials.USERNAME,
                        "domain": {"name": "Default"},
                        "password": credentials.PASSWORD,
                    }
                },
            },
            "scope": {"project": {"id": credentials.PROJECT_ID}},
        }
        answer = requests.post(f"{cloud.auth_url}/auth/tokens", json={"auth": auth}, timeout=10)
        self._headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
        self._url = next(
            endpoint["url"]
            for service in answer.json()["token"]["catalog"]
            if service["type"] == "compute"
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        )

    def tag(self, server_id: str, node: str) -> None:
        """Set the tags that say which node a server is."""
        tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": node}
        self._post(f"/servers/{server_id}/metadata", {"metadata": tags})

    def start(self, server_id: str) -> None:
        """Start a server."""
        self._post(f"/servers/{server_id}/action", {"os-start": None})

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        answer = requests.post(self._url + path, json=body, headers=self._headers, timeout=10)
        answer.raise_for_status()


# -- identity


def test_a_server_that_was_given_to_another_node_is_not_acted_upon(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """The store still holds its id for main1; its tags say main2."""
    bench = open_power_bench()
    power_cloud.remove_servers("main2")
    up = resume()
    bench.ask(up)
    assert bench.ending(up).transition is COMPLETED
    given = power_cloud.servers()["main1"]
    Nova(power_cloud).tag(given.id, "main2")
    down = suspend()
    bench.ask(down)
    told = bench.ending(down)
    assert (told.transition, told.actions) == (COMPLETED, ())
    assert stops(power_cloud) == 0
    assert power_cloud.servers()["main1"].status == "ACTIVE"
    gone = command("main1", kind=Kind.RETIRE, generation=time.time_ns())
    bench.ask(gone)
    assert bench.ending(gone).transition is COMPLETED
    assert power_cloud.counts().get("delete", 0) == 0


def test_a_second_server_with_the_nodes_tags_is_seen_though_the_first_is_known(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """A creation that took effect late: with strategy delete it goes, with stop an operator must."""
    tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "main1"}
    power_cloud.remove_servers("main1")
    power_cloud.add_servers([ServerSpec(name="main1", metadata=tags)])
    bench = open_power_bench()
    up = resume()
    bench.ask(up)
    assert bench.ending(up).transition is COMPLETED
    power_cloud.add_servers([ServerSpec(name="main1", metadata=tags)])
    down = suspend()
    bench.ask(down)
    told = bench.ending(down)
    assert told.transition is FAILED
    assert told.cause is not None
    assert told.cause.error == "ambiguous_server"
    gone = command("main1", kind=Kind.RETIRE, generation=time.time_ns())
    bench.ask(gone)
    assert bench.ending(gone).transition is COMPLETED
    assert "main1" not in power_cloud.servers()
    assert power_cloud.counts()["delete"] == 2


# -- looks


def test_a_boot_that_went_well_while_nobody_could_look_completes(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """Its patience ran out while the cloud asked for rest: only a later listing may end it."""
    bench = open_power_bench(group="boot_timeout = 1.0")
    up = resume()
    power_cloud.inject(
        Fault(effect=Answer(status=429, retry_after_seconds=3.0), kind="lists", times=1)
    )
    Nova(power_cloud).start(power_cloud.servers()["main1"].id)
    bench.ask(up)
    assert bench.ending(up).transition is COMPLETED
    assert bench.transitions(up).count(RETRIED) == 0


def test_a_boot_whose_end_a_listing_of_changes_missed_is_found_by_a_whole_one(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """Clocks of Nova's hosts that differ by more than the overlap hide a change for good."""
    bench = open_power_bench(group="boot_timeout = 2.0")
    power_cloud.inject(Fault(effect=NeverCompletes(), kind="start"))
    up = resume()
    bench.ask(up)
    until(lambda: starts(power_cloud) == 1, 20, "the start")
    power_cloud.set(hide_changes=True)
    power_cloud.set_power("main1", on=True)
    assert bench.ending(up).transition is COMPLETED


def test_a_creation_that_comes_late_and_makes_the_next_exceed_the_quota_completes(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """The refusal is true, but not a failure: the node has its server."""
    power_cloud.remove_servers("main1")
    power_cloud.inject(Fault(effect=Answer(status=403, message="Quota exceeded"), kind="create"))
    bench = open_power_bench(group=f'strategy = "delete"\n{TEMPLATE}', power={"poll_interval": 2})
    up = resume()
    bench.ask(up)
    until(lambda: power_cloud.call_counts().answers.get("create"), 20, "the refusal")
    tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "main1"}
    power_cloud.add_servers([ServerSpec(name="main1", metadata=tags, status="ACTIVE")])
    told = bench.ending(up)
    assert told.transition is COMPLETED
    assert told.actions[0].result == "quota"
    assert power_cloud.counts()["create"] == 1


# -- patience


def test_patience_counts_from_acceptance_across_parkings(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """boot_timeout is longer than hold: each parking must not start it again."""
    power_cloud.change_servers("main1", status="BUILD")
    bench = open_power_bench(
        power={"hold": 2, "lease": 12, "api_timeout": 2}, group="boot_timeout = 40"
    )
    up = resume()
    bench.ask(up)
    told = bench.ending(up, timeout=60)
    assert told.transition is FAILED
    assert told.cause is not None
    assert told.cause.error == "boot_timeout"
    assert PARKED in bench.transitions(up)


def test_a_wall_clock_that_steps_back_neither_deafens_nor_ages_anything(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = open_power_bench(group="boot_timeout = 5.0")
    first = resume()
    bench.ask(first)
    assert bench.ending(first).transition is COMPLETED
    second = resume("main2", after=1)
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - 3600 * NS)
    bench.ask(second)
    assert bench.ending(second).transition is COMPLETED
    assert starts(power_cloud) == 2


# -- a clock that is ahead


def test_a_hooks_clock_that_is_an_hour_ahead_shuts_out_no_node(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """One call at a wrong time: its file keeps that, and all later calls and snapshots are above it."""
    bench = open_power_bench(resync="enabled = true")
    first, other = from_slurm(resume(after=3600)), from_slurm(resume("main2", after=3600))
    bench.ask(first, other)
    for one in (first, other):
        bench.saw(one, PARKED)
    until(lambda: "from the future" in bench.engine.state, 20, "the worker's state")
    until(bench.notices, 20, "the alarm")
    [alarm] = bench.notices()
    assert (alarm.name, alarm.subject) == ("alarm.request_refused", CLUSTER)
    assert starts(power_cloud) == 0
    shows(bench, ahead=3600.5, main1="IDLE+CLOUD+POWERING_UP", main2="IDLE+CLOUD+POWERING_UP")
    assert {one.transition for one in bench.endings(first, other)} == {COMPLETED}
    power_cloud.set_power("main3", on=True)
    later = from_slurm(suspend("main3", after=3601))
    bench.ask(later)
    shows(bench, ahead=3602)
    assert bench.ending(later).transition is COMPLETED
    assert power_cloud.servers()["main3"].status == "SHUTOFF"
    assert len(bench.notices()) == 1


def test_a_request_from_another_clock_that_is_ahead_waits_and_shuts_nothing_out(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """As from a second controller with a folder of its own: the snapshots show the clock that counts."""
    bench = open_power_bench(resync="enabled = true")
    shows(bench, main1="IDLE+CLOUD+POWERING_UP")
    ahead = from_slurm(suspend(after=3600))
    bench.ask(ahead)
    bench.saw(ahead, PARKED)
    up = from_slurm(resume())
    bench.ask(up)
    assert bench.ending(up).transition is COMPLETED
    assert power_cloud.servers()["main1"].status == "ACTIVE"
    assert FAILED not in bench.transitions(ahead)


# -- boots that slurmctld waits for


@pytest.mark.parametrize("strategy", ["stop", "delete"])
@pytest.mark.parametrize("late_first", [True, False])
def test_a_resume_that_overtakes_a_suspend_boots_the_server_that_still_runs(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
    late_first: bool,  # noqa: FBT001
    strategy: str,
) -> None:
    """Slurmctld ignores a slurmd whose boot is older than its resume."""
    if strategy == "delete":
        power_cloud.remove_servers("main1")
    bench = open_power_bench(group=f'strategy = "{strategy}"\n{TEMPLATE}')
    first = from_slurm(resume())
    bench.ask(first)
    assert bench.ending(first).transition is COMPLETED
    down, up = from_slurm(suspend()), from_slurm(resume(after=0.001))
    bench.ask(*((down, up) if late_first else (up, down)))
    (told, *_) = bench.endings(up, down)
    assert told.transition is COMPLETED
    made = [action.action for action in told.actions]
    assert made[-1] in {"reboot", "os-start" if strategy == "stop" else "create"}
    assert power_cloud.servers()["main1"].status == "ACTIVE"


def test_a_node_that_slurm_counts_as_running_is_not_rebooted(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    bench = open_power_bench(resync="enabled = true")
    until(lambda: "suspends wait" in bench.engine.state, 20, "the engine's first turn")
    power_cloud.set_power("main1", on=True)
    up = from_slurm(resume())
    shows(bench, main1="MIXED+CLOUD")
    until(lambda: "suspends wait" not in bench.engine.state, 20, "the snapshot")
    bench.ask(up)
    told = bench.ending(up)
    assert (told.transition, told.actions) == (COMPLETED, ())


def test_an_operators_resume_reboots_nothing(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    bench = open_power_bench()
    power_cloud.set_power("main1", on=True)
    up = replace(resume(), expiry=None)
    bench.ask(up)
    told = bench.ending(up)
    assert (told.transition, told.actions) == (COMPLETED, ())


# -- outages


def test_an_action_that_fails_with_5xx_is_no_fault_of_the_only_node_that_waits(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    bench = open_power_bench(power={"attempts": 2})
    number = power_cloud.inject(Fault(effect=Answer(status=500), kind="actions"))
    up = resume()
    bench.ask(up)
    until(lambda: starts(power_cloud) >= 5, 30, "five starts")
    assert RETRIED not in bench.transitions(up)
    assert FAILED not in bench.transitions(up)
    power_cloud.remove_fault(number)
    assert bench.ending(up).transition is COMPLETED


def test_boots_that_run_out_of_time_together_are_the_clouds_fault(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """A dead compute service behind a live API: no boot of the cloud ends, whoever asks."""
    bench = open_power_bench(group="boot_timeout = 1.0")
    power_cloud.inject(Fault(effect=NeverCompletes(), kind="start"))
    asked = [resume(f"main{number}") for number in range(1, 5)]
    bench.ask(*asked)
    for one in asked:
        bench.saw(one, PARKED)
    assert not any(FAILED in bench.transitions(one) for one in asked)
    for one in asked:
        power_cloud.set_power(one.node, on=True)
    assert {end.transition for end in bench.endings(*asked, timeout=40)} == {COMPLETED}


# -- bounds


def test_a_deletion_that_nova_lost_half_way_is_sent_again(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    tags = {"lamplighter_cluster": CLUSTER, "lamplighter_node": "main1"}
    power_cloud.remove_servers("main1")
    power_cloud.add_servers([ServerSpec(name="main1", metadata=tags)])
    power_cloud.inject(Fault(effect=NeverCompletes(), kind="delete", times=1))
    bench = open_power_bench(group="stop_timeout = 1.0")
    gone = command("main1", kind=Kind.RETIRE, generation=time.time_ns())
    bench.ask(gone)
    told = bench.ending(gone)
    assert told.transition is COMPLETED
    assert [action.action for action in told.actions] == ["delete", "delete"]
    assert "main1" not in power_cloud.servers()


def test_tagging_that_has_no_effect_ends(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    power_cloud.set(ignore_metadata=True)
    bench = open_power_bench(group="boots = 2")
    adopt = command("main1", kind=Kind.ADOPT, generation=time.time_ns())
    bench.ask(adopt)
    told = bench.ending(adopt)
    assert told.cause is not None
    assert (told.transition, told.cause.error) == (FAILED, "adopt_failed")
    assert [action.action for action in told.actions] == ["tag", "tag"]


def test_a_deployment_whose_creation_hangs_leaves_one_server_also_with_strategy_stop(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """What the first call made may come late: a second server is deleted, or never made."""
    power_cloud.remove_servers("main1")
    power_cloud.inject(Fault(effect=Hang(seconds=2.0), kind="create", times=1))
    group = f"deploy_wait = 1.0\n{TEMPLATE}"
    bench = open_power_bench(power={"api_timeout": 1.0}, group=group)
    ready = command("main1", kind=Kind.DEPLOY, generation=time.time_ns())
    bench.ask(ready)
    assert bench.ending(ready, timeout=40).transition is COMPLETED
    down = suspend(after=1)
    bench.ask(down)
    assert bench.ending(down).transition is COMPLETED
    counts = power_cloud.counts()
    assert counts["create"] - counts.get("delete", 0) == 1


def test_a_creation_that_hangs_leaves_no_server_behind(
    open_power_bench: Callable[..., PowerBench],
    power_cloud: SimCloud,
) -> None:
    """Its answer comes later than the API's timeout; what it made is seen by every later request."""
    power_cloud.remove_servers("main1")
    power_cloud.inject(Fault(effect=Hang(seconds=2.0), kind="create", times=1))
    bench = open_power_bench(power={"api_timeout": 1.0}, group=f'strategy = "delete"\n{TEMPLATE}')
    up = resume()
    bench.ask(up)
    assert bench.ending(up).transition is COMPLETED
    down = suspend()
    bench.ask(down)
    assert bench.ending(down).transition is COMPLETED
    assert "main1" not in power_cloud.servers()
