"""A simulated cloud that has forgotten all logins, and a site whose token service can have one there."""

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
    """The cloud, as new."""
    _running_cloud.reset()
    return _running_cloud


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> TokenSite:
    """A site with the topology in place; its clouds are added by each test."""
    made = TokenSite(run_dir / "site", broker_url)
    made.prepare()
    return made
