"""A cloud is listed often, but calls never wait for listings; and in full where changes may mislead."""

from __future__ import annotations

import math
import queue
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from schemas.events import Cause
from schemas.server import Server
from tests.testbed.pending_nodes import UP, node, row
from workers.clouds.client import Cloud, Listing
from workers.clouds.driver import Answered, CloudDriver, CloudEvent, Listed
from workers.clouds.errors import CloudError, NotWantedError, classify
from workers.clouds.health import Health
from workers.clouds.nova_requests import Call
from workers.config.groups import CloudSettings
from workers.config.logins import PasswordSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.power.node import PendingNode

SETTINGS = CloudSettings(
    auth_url="http://127.0.0.1:1/v3",
    source=PasswordSource(username="u", password_command=("true",)),
    project_id="p",
)
INTERVAL = 1.0
TAKES = 0.3


class SlowLister:
    """A cloud whose listing takes some time; the times it was asked from, and its next error."""

    def __init__(self) -> None:
        self.takes = TAKES
        self.asked: list[str | None] = []
        self.error: Exception | None = None
        self.server = Server("id-1", "node1", "ACTIVE", cluster="cluster", node="node1")
        self.hidden = False
        self.tries = 1

    def show_server(self, server_id: str) -> Server | None:
        return self.server if server_id == self.server.id else None

    def list_servers(self, since: str | None) -> Listing:
        self.asked.append(since)
        time.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return Listing([] if self.hidden else [self.server], f"answer {len(self.asked)}")

    def act(self, call: Call, guard: Callable[[], None]) -> str:
        for _ in range(self.tries):
            guard()
        return call.server_id

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def posted() -> queue.Queue[CloudEvent]:
    return queue.Queue()


@pytest.fixture
def lister() -> SlowLister:
    return SlowLister()


@pytest.fixture
def driver(lister: SlowLister, posted: queue.Queue[CloudEvent]) -> Iterator[CloudDriver]:
    driver = CloudDriver("one", "cluster", SETTINGS, cast("Cloud", lister), posted.put)
    yield driver
    driver.close()


def listed(driver: CloudDriver, posted: queue.Queue[CloudEvent]) -> Listed:
    """List once."""
    driver.list(INTERVAL, INTERVAL)
    event = posted.get(timeout=10)
    assert isinstance(event, Listed)
    driver.listed(event)
    return event


def called(driver: CloudDriver, *nodes: str) -> None:
    """Make a call for each node, of which none is answered yet."""
    for name in nodes:
        driver.queue(name, first=True)
        assert driver.next_turn(time.monotonic()) == name
        driver.in_flight += 1


def test_while_calls_are_to_come_or_to_be_answered_listings_take_at_most_a_quarter_of_the_time(
    driver: CloudDriver, posted: queue.Queue[CloudEvent]
) -> None:
    driver.queue("node1", first=True)
    asked = listed(driver, posted).asked
    assert driver.listing_at() >= asked + 4 * TAKES
    assert driver.next_turn(time.monotonic()) == "node1"
    called(driver, "node2", "node3")
    assert driver.listing_at() >= asked + 4 * TAKES


def test_with_the_last_answers_listings_come_at_the_poll_interval(
    driver: CloudDriver, posted: queue.Queue[CloudEvent]
) -> None:
    called(driver, "node1", "node2")
    asked = listed(driver, posted).asked
    driver.answered(time.monotonic())
    assert driver.listing_at() - asked == pytest.approx(INTERVAL, abs=0.1)


def test_a_longer_pause_ends_when_somebody_waits_for_a_listing_but_not_a_rest(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent]
) -> None:
    lister.takes = 0.0
    began = time.monotonic()
    driver.list(INTERVAL, 4 * INTERVAL)
    event = posted.get(timeout=10)
    assert isinstance(event, Listed)
    driver.listed(event)
    assert driver.listing_at() - began == pytest.approx(4 * INTERVAL, abs=0.2)
    driver.list_as_usual()
    assert driver.listing_at() - began == pytest.approx(INTERVAL, abs=0.2)
    driver.list_later(began + 60)
    driver.list_as_usual()
    assert driver.listing_at() == began + 60


def test_a_call_without_an_answer_is_followed_by_a_listing_at_once(
    driver: CloudDriver, posted: queue.Queue[CloudEvent]
) -> None:
    driver.queue("node1", first=True)
    listed(driver, posted)
    driver.list_soon(now := time.monotonic())
    assert driver.listing_at() <= now


def test_the_first_listing_is_whole_and_the_next_of_what_changed_since_its_answer(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent]
) -> None:
    lister.takes = 0.0
    first, second = listed(driver, posted), listed(driver, posted)
    assert lister.asked == [None, "answer 1"]
    assert (first.whole, second.whole) == (True, False)
    assert (driver.view.whole_as_of, driver.view.as_of) == (first.asked, second.asked)


@pytest.mark.slow
def test_a_cloud_that_is_listed_often_is_still_listed_in_full_each_ten_minutes(
    driver: CloudDriver, posted: queue.Queue[CloudEvent]
) -> None:
    """A change that listings of changes have missed must not stay unseen while the cloud is busy."""
    assert listed(driver, posted).whole
    driver.view.whole_as_of -= 500
    assert not listed(driver, posted).whole
    driver.view.whole_as_of -= 101
    assert listed(driver, posted).whole
    assert not listed(driver, posted).whole


def test_a_whole_listing_is_made_when_it_is_ordered_and_again_until_it_succeeds(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent]
) -> None:
    lister.takes = 0.0
    first = listed(driver, posted)
    driver.list_whole_next()
    lister.error = CloudError(503, "away")
    assert listed(driver, posted).whole
    assert driver.view.as_of == first.asked
    lister.error = None
    assert listed(driver, posted).whole
    assert not listed(driver, posted).whole
    assert lister.asked == [None, None, None, "answer 3"]


@pytest.mark.parametrize("known_by", ["its tags", "its pending node"])
def test_a_server_that_a_whole_listing_lacks_stays_while_the_cloud_shows_it(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent], known_by: str
) -> None:
    """All are listed until it is there again: no listing of changes would show it."""
    lister.takes = 0.0
    known: list[PendingNode] = []
    if known_by == "its pending node":
        lister.server = replace(lister.server, cluster=None, node=None)
        known.append(node(UP, row=row(UP, "id-1")))
    else:
        listed(driver, posted)
    lister.hidden, lister.server = True, replace(lister.server, status="SHUTOFF")
    for _ in range(2):
        driver.list_whole_next()
        driver.list(INTERVAL, INTERVAL, known)
        event = posted.get(timeout=10)
        assert isinstance(event, Listed)
        driver.listed(event)
        assert driver.view.servers == (lister.server,)
        assert event.whole
    lister.hidden = False
    assert listed(driver, posted).whole
    assert not listed(driver, posted).whole
    lister.hidden, lister.server = True, replace(lister.server, id="another")
    driver.list_whole_next()
    listed(driver, posted)
    assert driver.view.servers == ()


def test_a_listing_reports_the_nodes_whose_servers_have_changed(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent]
) -> None:
    lister.takes = 0.0
    driver.list(INTERVAL, INTERVAL)
    event = posted.get(timeout=10)
    assert isinstance(event, Listed)
    assert driver.listing_now
    assert driver.listed(event) == {"node1"}
    assert driver.listed(event) == set()
    assert not driver.listing_now


def test_a_cloud_that_answers_no_listing_in_time_is_probed_as_often_while_nodes_wait_to_call(
    driver: CloudDriver,
) -> None:
    """They wait until it is back: what is spared for their calls would put that off by a minute."""
    error = CloudError(None, "nobody answered", timed_out=True)
    driver.queue("node1", first=True)
    now = time.monotonic()
    driver.listed(Listed("one", now - 15.0, True, error))
    driver.failed(classify(error), 0.0, None, now)
    assert driver.listing_at() == now + driver.health.probe_in


def test_resumes_are_called_before_everything_else(driver: CloudDriver) -> None:
    for name, first in (("off1", False), ("up1", True), ("off2", False), ("up2", True)):
        driver.queue(name, first=first)
    turns = [driver.next_turn(time.monotonic()) for _ in range(5)]
    assert turns == ["up1", "up2", "off1", "off2", None]


def test_an_answer_says_whether_an_earlier_try_may_still_take_effect(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent]
) -> None:
    """Each try is preceded by the guard; one that the guard refuses is not sent."""
    call = Call("os-start", "id-1", "node1", "all")
    refusals = iter([None, NotWantedError("generation 8 has come")])

    def refuse_the_second() -> None:
        if (error := next(refusals)) is not None:
            raise error

    late = []
    for tries, guard in ((1, lambda: None), (2, lambda: None), (2, refuse_the_second)):
        lister.tries = tries
        driver.call(call, guard)
        answered = posted.get(timeout=10)
        assert isinstance(answered, Answered)
        late.append(answered.late)
        driver.answered(time.monotonic())
    assert late == [False, True, True]


def test_an_answer_reaches_the_engine_as_an_event(
    driver: CloudDriver, posted: queue.Queue[CloudEvent]
) -> None:
    call = Call("os-start", "id-1", "node1", "all")

    def refuse() -> None:
        raise CloudError(409, "not now")

    driver.call(call, lambda: None)
    assert posted.get(timeout=10) == Answered("one", call, "id-1")
    driver.call(call, refuse)
    refused = posted.get(timeout=10)
    assert isinstance(refused, Answered)
    assert isinstance(refused.answer, CloudError)
    assert driver.in_flight == 2
    driver.answered(time.monotonic())
    driver.answered(time.monotonic())
    assert driver.in_flight == 0


def test_a_cloud_that_is_away_gets_no_call(driver: CloudDriver) -> None:
    driver.queue("node1", first=True)
    driver.health = Health().listing_failed(Cause("network", "gone"), 100.0)
    assert (driver.next_turn(time.monotonic()), driver.away) == (None, "network")
    assert driver.turn_at() == math.inf
    driver.health = Health()
    driver.tokens_away = True
    assert (driver.next_turn(time.monotonic()), driver.away) == (None, "token_service_away")
    driver.tokens_away = False
    assert driver.next_turn(time.monotonic()) == "node1"


def test_in_a_brown_out_one_call_at_a_time_tries_the_cloud(driver: CloudDriver) -> None:
    for name in ("node1", "node2", "node3"):
        driver.health = driver.health.call_failed(name, 100.0)
        driver.queue(name, first=True)
    assert driver.next_turn(time.monotonic()) == "node1"
    driver.in_flight = 1
    assert driver.next_turn(time.monotonic()) is None
    driver.answered(time.monotonic())
    assert driver.next_turn(time.monotonic()) == "node2"


def test_a_cloud_that_asks_for_a_rest_is_neither_called_nor_listed(driver: CloudDriver) -> None:
    driver.queue("node1", first=True)
    now = time.monotonic()
    driver.slow_down(now + 30.0)
    assert driver.next_turn(now + 29.0) is None
    assert driver.listing_at() >= now + 30.0
    driver.list_soon(now)
    assert driver.listing_at() >= now + 30.0
    assert driver.next_turn(now + 31.0) == "node1"


def test_a_listing_that_is_refused_for_a_while_shows_that_the_token_service_is_back(
    driver: CloudDriver,
) -> None:
    """Or nothing would be consumed for as long as the cloud asks. A call may have an earlier token."""
    busy = classify(CloudError(429, "slow", retry_after=600.0))
    driver.tokens_away = True
    driver.failed(busy, 600.0, "node1", time.monotonic())
    assert driver.tokens_away
    driver.failed(busy, 600.0, None, time.monotonic())
    assert (driver.tokens_away, driver.away) == (False, "over_limit")


def test_a_cloud_that_asks_to_be_listed_much_later_is_away_until_it_has_been(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent]
) -> None:
    """A call that is refused so says nothing of the listings."""
    lister.takes = 0.0
    busy, now = classify(CloudError(503, "maintenance", retry_after=60.0)), time.monotonic()
    driver.failed(busy, 60.0, "node1", now)
    assert driver.health == Health()
    driver.failed(busy, 60.0, None, now)
    assert driver.away == "over_limit"
    assert driver.listing_at() == pytest.approx(now + 60.0, abs=5.0)
    driver.failed(busy, 1.0, None, now)
    listed(driver, posted)
    assert driver.health == Health()


def test_a_listing_counts_for_starts_until_the_next_one_can_be_there(
    driver: CloudDriver, lister: SlowLister, posted: queue.Queue[CloudEvent]
) -> None:
    """A large cloud is listed less often than once an interval: no resume waits for that."""
    lister.takes = 0.6
    event = listed(driver, posted)
    driver.queue("node1", first=True)
    next_one_is_there = driver.listing_at() + lister.takes
    assert next_one_is_there - event.asked > 2 * INTERVAL
    assert next_one_is_there - event.asked < driver.listing_lasts
    assert driver.listing_lasts < 10 * lister.takes + 2 * INTERVAL
