"""The stored images of groups, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.commands import Kind
from tests.testbed.messages import MOMENT, command
from workers.store.database import open_store
from workers.store.group_images import GroupImage, by_group, keep, unset

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

FIRST = GroupImage.of(command(kind=Kind.BAKE, generation=MOMENT), "all", "one", MOMENT)
LATER = GroupImage.of(command(kind=Kind.BAKE, generation=MOMENT + 1), "all", "two", MOMENT)
OTHER = GroupImage.of(command(kind=Kind.BAKE, generation=MOMENT), "gpu", "three", MOMENT)


@pytest.fixture
def connection(store_url: str) -> Iterator[sa.Connection]:
    engine = open_store(store_url, "state")
    with engine.begin() as opened:
        yield opened
    engine.dispose()


@pytest.mark.parametrize("batches", [[[FIRST], [LATER]], [[LATER], [FIRST]], [[LATER, FIRST]]])
def test_group_uses_the_last_requested_image(
    connection: sa.Connection, batches: list[list[GroupImage]]
) -> None:
    for batch in batches:
        keep(connection, "test", batch)
    keep(connection, "test", [OTHER])
    keep(connection, "test", [])
    assert by_group(connection, "test") == {"all": LATER, "gpu": OTHER}
    assert by_group(connection, "other") == {}


def test_unset_returns_and_deletes_the_image_of_one_group(
    connection: sa.Connection,
) -> None:
    keep(connection, "test", [FIRST, OTHER])
    assert unset(connection, "test", "all") == FIRST
    assert unset(connection, "test", "all") is None
    assert by_group(connection, "test") == {"gpu": OTHER}
