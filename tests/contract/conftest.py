"""Fixtures with which each test of a cloud runs twice: on the simulation and on real OpenStack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.clouds import Cloud, Real, Simulated, nova_for
from tests.testbed.openstack.api import Keystone, Service, session
from tests.testbed.simcloud.handle import SimCloud

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests


@pytest.fixture(scope="session")
def simulation() -> Iterator[SimCloud]:
    with SimCloud() as cloud:
        yield cloud


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.openstack)])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """A fast cloud without servers and faults; it is reset after each test."""
    if request.param == "real":
        subject: Cloud = Real(request.getfixturevalue("openstack"))
    else:
        subject = Simulated(request.getfixturevalue("simulation"))
    yield subject
    subject.reset()


@pytest.fixture
def nova(cloud: Cloud) -> Iterator[Service]:
    """Nova's API for the project `nodes`, without a microversion, as our workers use it."""
    with nova_for(cloud) as service:
        yield service


@pytest.fixture
def keystone(cloud: Cloud) -> Iterator[Keystone]:
    with Keystone(cloud.auth_url) as service:
        yield service


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with session() as service:
        yield service
