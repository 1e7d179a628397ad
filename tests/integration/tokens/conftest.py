"""Fixtures: a simulated cloud, and an installation whose token service logs in there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.token_site import TokenSite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def _running_cloud() -> Iterator[SimCloud]:
    with SimCloud() as simulation:
        yield simulation


@pytest.fixture
def cloud(_running_cloud: SimCloud) -> SimCloud:
    """The cloud, reset."""
    _running_cloud.reset()
    return _running_cloud


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> TokenSite:
    """An installation with the topology in place; each test adds clouds."""
    made = TokenSite(run_dir / "site", broker_url)
    made.prepare()
    return made
