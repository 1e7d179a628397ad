"""The simulated servers behave like Nova's; without HTTP, and with manual time."""

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


class ManualTime:
    """Time that passes only when a test advances it."""

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
    """A compute service with its time, and the power events that it reported."""

    def __init__(self, settings: Settings) -> None:
        self.time = ManualTime()
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


def test_a_stopping_server_is_powered_until_it_is_down(cloud: Cloud) -> None:
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
def test_an_action_in_a_wrong_state_is_a_conflict_with_novas_message(
    cloud: Cloud, status: str, action: Action, state: str
) -> None:
    server = cloud.add(status=status)
    expected = f"Cannot '{action.name}' instance {server.id} while it is in {state}"
    with pytest.raises(ConflictError, match=re.escape(expected)):
        cloud.compute.act(server, action)


@pytest.mark.parametrize("action", [START, STOP])
def test_a_server_without_a_host_is_not_ready(cloud: Cloud, action: Action) -> None:
    server = cloud.add(status="SHELVED_OFFLOADED")
    with pytest.raises(ConflictError, match="is not ready"):
        cloud.compute.act(server, action)


@pytest.mark.parametrize(
    ("status", "first", "second", "state"),
    [
        ("SHUTOFF", START, START, "task_state powering-on"),
        ("ACTIVE", STOP, STOP, "task_state powering-off"),
        # Nova checks the vm state first, and that of a booting server is still "stopped".
        ("SHUTOFF", START, STOP, "vm_state stopped"),
        ("ACTIVE", STOP, START, "vm_state active"),
        ("ACTIVE", SHELVE, STOP, "task_state shelving"),
    ],
)
def test_an_action_during_another_one_is_a_conflict(
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


def test_a_server_in_error_can_be_stopped_and_then_has_no_fault(cloud: Cloud) -> None:
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
def test_a_start_ends_as_its_fate_says(
    cloud: Cloud, fate: Fate, status: str, task: str | None
) -> None:
    server = cloud.add()
    cloud.compute.act(server, START, fate)
    cloud.time.pass_seconds(1000)
    assert (server.status, server.task_state) == (status, task)
    assert not server.powered


def test_after_a_stop_that_ends_in_error_the_server_still_runs_and_is_billed(cloud: Cloud) -> None:
    server = cloud.add(status="ACTIVE")
    cloud.compute.act(server, STOP, GoesToError())
    cloud.time.pass_seconds(5)
    assert shown(server) == ("ERROR", None, True)
    assert cloud.compute.ledger.intervals(server.id)[0].off is None
    assert len(cloud.compute.ledger.endless(server.id)) == 1


def test_the_duration_of_a_fate_replaces_the_boot_time(cloud: Cloud) -> None:
    server = cloud.add()
    cloud.compute.act(server, START, GoesToError(after_seconds=2))
    cloud.time.pass_seconds(2)
    assert server.status == "ERROR"


def test_a_change_from_outside_cancels_the_running_task(cloud: Cloud) -> None:
    server = cloud.add()
    cloud.compute.act(server, START)
    cloud.compute.put(server, VmState.STOPPED)
    cloud.time.pass_seconds(100)
    assert (server.status, server.task_state) == ("SHUTOFF", None)


def test_a_servers_own_boot_time_overrides_the_setting(cloud: Cloud) -> None:
    server = cloud.compute.add(ServerSpec(name="slow", boot_seconds=(40, 60)))
    cloud.compute.act(server, START)
    cloud.time.pass_seconds(39)
    assert server.task_state == "powering-on"
    cloud.time.pass_seconds(21)
    assert server.status == "ACTIVE"


def test_the_ledger_bills_powered_on_time(cloud: Cloud) -> None:
    server = cloud.add()
    begin = cloud.time.now()
    cloud.compute.act(server, START)
    cloud.time.pass_seconds(100)
    cloud.compute.act(server, STOP)
    cloud.time.pass_seconds(100)
    (interval,) = cloud.compute.ledger.intervals(server.id)
    assert (interval.on, interval.off) == (begin + 20, begin + 105)
    assert cloud.heard == [("node1", True), ("node1", False)]


def test_a_reboot_reports_off_and_on_but_is_billed_throughout(cloud: Cloud) -> None:
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


def test_a_deleted_server_appears_only_with_changes_since(cloud: Cloud) -> None:
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


def test_paging_returns_every_server_once(cloud: Cloud) -> None:
    for number in range(25):
        cloud.add(f"node{number}")
        cloud.time.pass_seconds(1)
    seen: list[str] = []
    marker = None
    while page := cloud.compute.listed(PROJECT_ID, Query(limit=10, marker=marker)):
        seen += [server.name for server in page]
        marker = page[-1].id
    assert seen == [f"node{number}" for number in reversed(range(25))]


def test_an_unknown_marker_is_refused(cloud: Cloud) -> None:
    with pytest.raises(BadRequestError, match=r"marker \[nonsense\] not found"):
        cloud.compute.listed(PROJECT_ID, Query(limit=10, marker="nonsense"))


def test_another_projects_server_is_not_found(cloud: Cloud) -> None:
    server = cloud.add()
    with pytest.raises(NotFoundError):
        cloud.compute.get(OTHER_PROJECT_ID, server.id)
    assert cloud.compute.listed(OTHER_PROJECT_ID, ALL) == []


def test_the_quota_of_instances_is_enforced() -> None:
    cloud = Cloud(Settings(instance_quota=1))
    cloud.compute.create(ServerSpec(name="first"), "m1.tiny", None, None)
    with pytest.raises(ForbiddenError, match="Quota exceeded for instances: Requested 1"):
        cloud.compute.create(ServerSpec(name="second"), "m1.tiny", None, None)


def test_a_removed_server_is_not_listed_even_if_another_one_is_added(cloud: Cloud) -> None:
    first = cloud.add("first")
    assert len(cloud.compute.listed(PROJECT_ID, ALL)) == 1
    cloud.compute.forget(first)
    cloud.add("second")
    assert [server.name for server in cloud.compute.listed(PROJECT_ID, ALL)] == ["second"]
