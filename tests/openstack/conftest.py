"""One real cloud for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testbed.openstack.handle import RealOpenStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def openstack(session_dir: Path) -> Iterator[RealOpenStack]:
    """The cloud; tests leave no servers and no orders behind."""
    with RealOpenStack(session_dir / "os") as cloud:
        yield cloud
