"""Which image is a request's: asked by its property, among ours alone."""

from __future__ import annotations

import pytest

from workers.clouds.images import Image, pick, query


def test_it_is_asked_by_the_request_that_made_it_and_by_its_owner() -> None:
    assert query("r", "p") == {"lamplighter_request": "r", "owner": "p"}
    assert query("r", None) == {"lamplighter_request": "r"}


@pytest.mark.parametrize(
    ("statuses", "picked"),
    [
        ([], None),
        (["active"], Image("0", "active")),
        (["saving", "active"], Image("1", "active")),
        (["queued", "killed"], Image("0", "queued")),
        (["killed", "deleted", "deactivated", "pending_delete"], None),
        (["active", "active"], Image("0", "active")),
    ],
)
def test_one_that_is_ready_comes_first_and_one_that_never_will_be_does_not_count(
    statuses: list[str], picked: Image | None
) -> None:
    images = [Image(str(number), status) for number, status in enumerate(statuses)]
    assert pick(images[::-1]) == picked
    assert pick(images) == picked
