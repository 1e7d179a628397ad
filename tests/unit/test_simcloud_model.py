"""The simulated servers behave as Nova's do, without any HTTP and with time made by hand."""

from __future__ import annotations

import heapq
import itertools
import re
from typing import TYPE_CHECKING

import pytest

from tests.testbed.simcloud.compute import Compute, Query
from tests.testbed.simcloud.credentials import OTHER_PROJECT_ID, PROJECT_ID
from tests.testbed.simcloud.effects import FallsBack, Fate, GoesToError, NeverCompletes
from tests.testbed.simcloud.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
)
from tests.testbed.simcloud.model import (
    DELETE,
    HARD_REBOOT,
    SHELVE,
    START,
    STOP,
    UNSHELVE,
    Action,
    Server,
    VmState,
)
from tests.testbed.simcloud.settings import CurrentSettings, ServerSpec, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = Query(limit=1000)


class HandTime:
    """Time that passes only when a test lets it."""

    def __init__(self) -> None:
        self._now = 1_000_000.25
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, wake: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self._now + seconds, next(self._serial), wake))

    def pass_seconds(self, seconds: float) -> None:
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, wake = heapq.heappop(self._timers)
            wake()
        self._now = end


class Cloud:
    """A compute service with its time, and what its power listener heard."""

    def __init__(self, settings: Settings) -> None:
        self.time = HandTime()
        self.heard: list[tuple[str, bool]] = []
        self.compute = Compute(
            self.time,
            CurrentSettings(settings),
            seed=7,
            on_power=lambda server, on: self.heard.append((server.name, on)),
        )

    def add(self, name: str = "node1", status: str = "SHUTOFF") -> Server:
        return self.compute.add(ServerSpec(name=name, status=status))


def shown(server: Server) -> tuple[str, str | None, bool]:
    return server.status, server.task_state, server.powered


def shown_fault(server: Server) -> str | None:
    return None if server.fault is None else server.fault.message


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(Settings(boot_seconds=20, stop_seconds=5, shelve_seconds=3))


def test_start_shows_its_task_until_the_server_has_booted(cloud: Cloud) -> None:
    server = cloud.add()
    cloud.compute.act(server, START)
    assert shown(server) == ("SHUTOFF", "powering-on", False)
    cloud.time.pass_seconds(19.9)
    assert server.task_state == "powering-on"
    cloud.time.pass_seconds(0.2)
    assert shown(server) == ("ACTIVE", None, True)


def test_stop_keeps_the_server_powered_until_it_is_down(cloud: Cloud) -> None:
    server = cloud.add(status="ACTIVE")
    cloud.compute.act(server, STOP)
    assert shown(server) == ("ACTIVE", "powering-off", True)
    cloud.time.pass_seconds(5)
    assert shown(server) == ("SHUTOFF", None, False)


@pytest.mark.parametrize(
    ("status", "action", "state"),
    [
        ("ACTIVE", START, "vm_state active"),
        ("SUSPENDED", START, "vm_state suspended"),
        ("ERROR", START, "vm_state error"),
        ("SHUTOFF", STOP, "vm_state stopped"),
    ],
)
def test_a_state_that_forbids_the_action_is_a_conflict_in_novas_words(
    cloud: Cloud, status: str, action: Action, state: str
) -> None:
    server = cloud.add(status=status)
    expected = f"Cannot '{action.name}' instance {server.id} while it is in {state}"
    with pytest.raises(ConflictError, match=re.escape(expected)):
        cloud.compute.act(server, action)


@pytest.mark.parametrize("action", [START, STOP])
def test_a_server_that_is_on_no_host_is_not_ready(cloud: Cloud, action: Action) -> None:
    server = cloud.add(status="SHELVED_OFFLOADED")
    with pytest.raises(ConflictError, match="is not ready"):
        cloud.compute.act(server, action)


@pytest.mark.parametrize(
    ("status", "first", "second", "state"),
    [
        ("SHUTOFF", START, START, "task_state powering-on"),
        ("ACTIVE", STOP, STOP, "task_state powering-off"),
        # Nova looks at the vm state first, and that of a booting server is still "stopped".
        ("SHUTOFF", START, STOP, "vm_state stopped"),
        ("ACTIVE", STOP, START, "vm_state active"),
        ("ACTIVE", SHELVE, STOP, "task_state shelving"),
    ],
)
def test_an_action_while_another_runs_is_a_conflict(
    cloud: Cloud, status: str, first: Action, second: Action, state: str
) -> None:
    server = cloud.add(status=status)
    cloud.compute.act(server, first)
    with pytest.raises(ConflictError, match=f"while it is in {state}$"):
        cloud.compute.act(server, second)


def test_a_locked_server_refuses_every_action(cloud: Cloud) -> None:
    server = cloud.add()
    server.locked = True
    with pytest.raises(ConflictError, match="is locked"):
        cloud.compute.act(server, START)


def test_a_server_in_error_can_be_stopped_and_then_shows_no_fault(cloud: Cloud) -> None:
    server = cloud.add()
    cloud.compute.act(server, START, GoesToError(message="No valid host was found."))
    cloud.time.pass_seconds(20)
    assert (server.status, shown_fault(server)) == ("ERROR", "No valid host was found.")
    cloud.compute.act(server, STOP)
    cloud.time.pass_seconds(5)
    assert (server.status, shown_fault(server)) == ("SHUTOFF", None)


@pytest.mark.parametrize(
    ("fate", "status", "task"),
    [
        (FallsBack(), "SHUTOFF", None),
        (NeverCompletes(), "SHUTOFF", "powering-on"),
        (GoesToError(after_seconds=1), "ERROR", None),
    ],
)
def test_a_start_meets_its_fate(cloud: Cloud, fate: Fate, status: str, task: str | None) -> None:
    server = cloud.add()
    cloud.compute.act(server, START, fate)
    cloud.time.pass_seconds(1000)
    assert (server.status, server.task_state) == (status, task)
    assert not server.powered


def test_a_stop_that_ends_in_error_leaves_the_machine_running_and_billed(cloud: Cloud) -> None:
    server = cloud.add(status="ACTIVE")
    cloud.compute.act(server, STOP, GoesToError())
    cloud.time.pass_seconds(5)
    assert shown(server) == ("ERROR", None, True)
    assert cloud.compute.ledger.intervals(server.id)[0].off is None


def test_a_fates_own_time_replaces_the_boot_time(cloud: Cloud) -> None:
    server = cloud.add()
    cloud.compute.act(server, START, GoesToError(after_seconds=2))
    cloud.time.pass_seconds(2)
    assert server.status == "ERROR"


def test_a_change_from_outside_makes_the_running_task_void(cloud: Cloud) -> None:
    server = cloud.add()
    cloud.compute.act(server, START)
    cloud.compute.put(server, VmState.STOPPED)
    cloud.time.pass_seconds(100)
    assert (server.status, server.task_state) == ("SHUTOFF", None)


def test_a_server_of_its_own_speed_ignores_the_usual_one(cloud: Cloud) -> None:
    server = cloud.compute.add(ServerSpec(name="slow", boot_seconds=(40, 60)))
    cloud.compute.act(server, START)
    cloud.time.pass_seconds(39)
    assert server.task_state == "powering-on"
    cloud.time.pass_seconds(21)
    assert server.status == "ACTIVE"


def test_the_ledger_bills_what_is_powered_on(cloud: Cloud) -> None:
    server = cloud.add()
    begin = cloud.time.now()
    cloud.compute.act(server, START)
    cloud.time.pass_seconds(100)
    cloud.compute.act(server, STOP)
    cloud.time.pass_seconds(100)
    (interval,) = cloud.compute.ledger.intervals(server.id)
    assert (interval.on, interval.off) == (begin + 20, begin + 105)
    assert cloud.heard == [("node1", True), ("node1", False)]


def test_a_reboot_is_heard_as_off_and_on_but_billed_throughout(cloud: Cloud) -> None:
    server = cloud.add(status="ACTIVE")
    cloud.compute.act(server, HARD_REBOOT)
    assert server.status == "HARD_REBOOT"
    cloud.time.pass_seconds(20)
    assert server.status == "ACTIVE"
    assert cloud.heard == [("node1", True), ("node1", False), ("node1", True)]
    assert len(cloud.compute.ledger.intervals(server.id)) == 1


def test_shelving_offloads_and_unshelving_boots(cloud: Cloud) -> None:
    server = cloud.add(status="ACTIVE")
    cloud.compute.act(server, SHELVE)
    cloud.time.pass_seconds(3)
    assert (server.status, server.powered) == ("SHELVED_OFFLOADED", False)
    cloud.compute.act(server, UNSHELVE)
    cloud.time.pass_seconds(20)
    assert server.status == "ACTIVE"


def test_a_deleted_server_is_gone_except_for_changes_since(cloud: Cloud) -> None:
    server = cloud.add(status="ACTIVE")
    cloud.time.pass_seconds(10)
    cloud.compute.act(server, DELETE)
    with pytest.raises(NotFoundError, match="could not be found"):
        cloud.compute.get(PROJECT_ID, server.id)
    assert cloud.compute.listed(PROJECT_ID, ALL) == []
    recent = Query(limit=1000, changes_since=cloud.time.now() - 5)
    assert [(s.name, s.status) for s in cloud.compute.listed(PROJECT_ID, recent)] == [
        ("node1", "DELETED")
    ]


def test_changes_since_compares_whole_seconds_as_novas_database_does(cloud: Cloud) -> None:
    cloud.add()
    changed = int(cloud.time.now())
    admitted = Query(limit=10, changes_since=float(changed))
    later = Query(limit=10, changes_since=changed + 0.1)
    assert len(cloud.compute.listed(PROJECT_ID, admitted)) == 1
    assert cloud.compute.listed(PROJECT_ID, later) == []


def test_paging_meets_every_server_once(cloud: Cloud) -> None:
    for number in range(25):
        cloud.add(f"node{number}")
        cloud.time.pass_seconds(1)
    seen: list[str] = []
    marker = None
    while page := cloud.compute.listed(PROJECT_ID, Query(limit=10, marker=marker)):
        seen += [server.name for server in page]
        marker = page[-1].id
    assert seen == [f"node{number}" for number in reversed(range(25))]


def test_a_marker_of_no_server_is_refused(cloud: Cloud) -> None:
    with pytest.raises(BadRequestError, match=r"marker \[nonsense\] not found"):
        cloud.compute.listed(PROJECT_ID, Query(limit=10, marker="nonsense"))


def test_another_projects_server_is_not_found(cloud: Cloud) -> None:
    server = cloud.add()
    with pytest.raises(NotFoundError):
        cloud.compute.get(OTHER_PROJECT_ID, server.id)
    assert cloud.compute.listed(OTHER_PROJECT_ID, ALL) == []


def test_the_quota_of_instances_is_kept() -> None:
    cloud = Cloud(Settings(instance_quota=1))
    cloud.compute.create(ServerSpec(name="first"), "m1.tiny", None, None)
    with pytest.raises(ForbiddenError, match="Quota exceeded for instances: Requested 1"):
        cloud.compute.create(ServerSpec(name="second"), "m1.tiny", None, None)


def test_a_forgotten_server_leaves_the_listings_even_when_another_comes(cloud: Cloud) -> None:
    first = cloud.add("first")
    assert len(cloud.compute.listed(PROJECT_ID, ALL)) == 1
    cloud.compute.forget(first)
    cloud.add("second")
    assert [server.name for server in cloud.compute.listed(PROJECT_ID, ALL)] == ["second"]
