"""When a cloud is listed: often, but never so that its calls must wait for listings."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, cast

import pytest

from schemas.commands import Desired
from workers.clouds.client import Cloud, Listing
from workers.clouds.driver import Callback, CloudDriver
from workers.config.groups import CloudSettings
from workers.config.logins import PasswordSource

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = CloudSettings(
    auth_url="http://127.0.0.1:1/v3",
    source=PasswordSource(username="u", password_command=("true",)),
    project_id="p",
)
INTERVAL = 1.0
TAKES = 0.3


class SlowLister:
    """A cloud whose listing takes its time."""

    def list_servers(self, _since: str | None) -> Listing:
        time.sleep(TAKES)
        return Listing([], "2026-01-01T00:00:00Z")

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def posted() -> queue.SimpleQueue[Callback]:
    return queue.SimpleQueue()


@pytest.fixture
def site(posted: queue.SimpleQueue[Callback]) -> Iterator[CloudDriver]:
    site = CloudDriver("one", "cluster", SETTINGS, cast("Cloud", SlowLister()), posted.put)
    yield site
    site.close()


def listed(site: CloudDriver, posted: queue.SimpleQueue[Callback]) -> float:
    """List once; return when it was asked for."""
    asked = time.monotonic()
    site.list(INTERVAL, lambda _error: None)
    posted.get(timeout=10)()
    return asked


def test_while_calls_wait_listings_take_a_quarter_of_the_time(
    site: CloudDriver, posted: queue.SimpleQueue[Callback]
) -> None:
    site.queue("node1", Desired.UP)
    asked = listed(site, posted)
    assert site.listing_at() >= asked + 4 * TAKES


def test_with_the_last_call_on_its_way_listings_are_as_often_as_wished(
    site: CloudDriver, posted: queue.SimpleQueue[Callback]
) -> None:
    site.queue("node1", Desired.UP)
    asked = listed(site, posted)
    assert site.next_turn(time.monotonic()) == "node1"
    assert site.listing_at() - asked == pytest.approx(INTERVAL, abs=0.1)


def test_a_doubtful_call_is_looked_after_at_once(
    site: CloudDriver, posted: queue.SimpleQueue[Callback]
) -> None:
    site.queue("node1", Desired.UP)
    listed(site, posted)
    site.list_soon(now := time.monotonic())
    assert site.listing_at() <= now
