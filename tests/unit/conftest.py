"""Fixtures of the unit tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.testbed.simcloud.handle import SimCloud

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def _running_cloud() -> Iterator[SimCloud]:
    with SimCloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(_running_cloud: SimCloud) -> SimCloud:
    """An empty simulated cloud without faults; the tests of one module share its process."""
    _running_cloud.reset()
    return _running_cloud


@pytest.fixture(autouse=True)
def _on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of the tests may be in memory; doctor would say so."""
    monkeypatch.setattr("ops.doctor.disks._MOUNTS", Path("/dev/null"))
