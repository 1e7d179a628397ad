"""A server that was there is not gone because a listing lacks it: Nova leaves out what it cannot reach."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from schemas.server import Server
from workers.clouds.actions import UNSEEN
from workers.clouds.client import Listing
from workers.clouds.errors import CloudError, UnreadableAnswerError
from workers.clouds.missing import with_missing

if TYPE_CHECKING:
    from workers.clouds.client import Cloud

KNOWN = {f"id-{n:02}": Server(f"id-{n:02}", f"node{n}", "ACTIVE", "deleting") for n in range(40)}
FEW = dict(list(KNOWN.items())[:3])
NOW = {key: replace(server, status="SHUTOFF", task=None) for key, server in KNOWN.items()}
SINCE = "2026-01-01T00:00:00+00:00"


class Shows:
    """A cloud that shows some servers; it answers for the others with an error, or that they are gone."""

    def __init__(self, *shown: Server, error: CloudError | None = None) -> None:
        self.shown = {server.id: server for server in shown}
        self.error = error
        self.asked: list[str] = []

    def show_server(self, server_id: str) -> Server | None:
        self.asked.append(server_id)
        if server_id not in self.shown and self.error is not None:
            raise self.error
        return self.shown.get(server_id)


def found(cloud: Shows, known: dict[str, Server], *listed: Server) -> dict[str, Server]:
    """What the completed listing adds."""
    listing = with_missing(cast("Cloud", cloud), known, Listing(list(listed), SINCE))
    assert listing.since == SINCE
    assert listing.lacked is (len(listing.servers) > len(listed))
    assert listing.servers[: len(listed)] == list(listed)
    return {server.id: server for server in listing.servers[len(listed) :]}


def test_nothing_is_asked_about_a_listing_that_lacks_nothing() -> None:
    cloud = Shows()
    assert found(cloud, KNOWN, *NOW.values()) == {}
    assert cloud.asked == []


def test_a_few_are_as_the_cloud_shows_each_of_them() -> None:
    cloud = Shows(NOW["id-01"])
    assert found(cloud, FEW) == {"id-01": NOW["id-01"]}
    assert sorted(cloud.asked) == sorted(FEW)


@pytest.mark.parametrize("status", ["DELETED", "SOFT_DELETED"])
def test_a_deleted_one_is_gone(status: str) -> None:
    assert found(Shows(replace(NOW["id-01"], status=status)), FEW) == {}


@pytest.mark.parametrize("known", [FEW, KNOWN], ids=["few", "many"])
@pytest.mark.parametrize("error", [None, CloudError(404, "gone"), CloudError(403, "not you")])
def test_they_are_gone_where_nothing_says_that_they_are_there(
    known: dict[str, Server], error: CloudError | None
) -> None:
    """Also where the login may not look at single servers."""
    cloud = Shows(error=error)
    assert found(cloud, known) == {}
    assert 0 < len(cloud.asked) <= 3


@pytest.mark.parametrize(
    "error",
    [
        CloudError(500, "cell"),
        CloudError(503, "cell"),
        CloudError(429, "too many", retry_after=9.0),
        CloudError(408, "too slow"),
        CloudError(None, "no answer"),
        UnreadableAnswerError("a page"),
    ],
)
@pytest.mark.parametrize("known", [FEW, KNOWN], ids=["few", "many"])
def test_what_the_cloud_cannot_say_is_unseen(known: dict[str, Server], error: CloudError) -> None:
    cloud = Shows(error=error)
    unseen = {key: replace(server, status=UNSEEN, task=None) for key, server in known.items()}
    assert found(cloud, known) == unseen
    assert len(cloud.asked) <= 3


@pytest.mark.parametrize("there", KNOWN.values())
def test_of_many_all_are_unseen_once_one_that_is_asked_for_is_there(there: Server) -> None:
    """A cell takes all its servers with it; those that were shown are known exactly."""
    alone = found(Shows(*KNOWN.values()), dict(KNOWN))
    assert set(alone) == set(KNOWN)
    asked = [key for key, server in alone.items() if server.status != UNSEEN]
    assert len(asked) == 3
    found_now = found(Shows(NOW[there.id]), dict(KNOWN))
    if there.id not in asked:
        assert found_now == {}
        return
    gone = set(asked) - {there.id}
    assert set(found_now) == set(KNOWN) - gone
    assert found_now[there.id] == NOW[there.id]
    assert {s.status for s in found_now.values() if s.id != there.id} == {UNSEEN}
