"""Tests that no refresh token is used twice, because a provider that rotates would revoke them all.

The services are processes, which are killed and frozen.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import sqlalchemy as sa

from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.simcloud.effects import Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.token_site import TokenSite, serving
from tests.testbed.waiting import until
from workers.errors import TokenRefusedError
from workers.store.database import connect
from workers.store.tables import refresh_tokens
from workers.tokens.client import TokenClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.config.settings import Settings

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def cloud() -> Iterator[SimCloud]:
    with SimCloud() as simulation:
        yield simulation


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> TokenSite:
    made = TokenSite(run_dir / "site", broker_url)
    made.prepare()
    return made


@pytest.fixture
def settings(cloud: SimCloud, site: TokenSite) -> Settings:
    return site.configure({"one": site.refresh_token_cloud(cloud)})


@pytest.fixture
def store(settings: Settings) -> Iterator[sa.Engine]:
    engine = connect(settings.store.url)
    yield engine
    engine.dispose()


def stored_token(store: sa.Engine) -> bytes | None:
    """The encrypted refresh token in the store."""
    with store.begin() as connection:
        return connection.scalar(sa.select(refresh_tokens.c.ciphertext))


def expire_lease(store: sa.Engine) -> None:
    with store.begin() as connection:
        connection.execute(sa.update(refresh_tokens).values(lease_until=1))


def test_kill_between_receipt_and_use_costs_one_refresh(
    cloud: SimCloud, site: TokenSite, settings: Settings, store: sa.Engine
) -> None:
    cloud.inject(Fault(kind="federation", effect=Hang(seconds=60)))
    with TokenClient(settings, "power") as client:
        with site.start("worker", "tokens") as service:
            with pytest.raises(TokenRefusedError, match="waiting for the login"):
                client.fetch("one")
            assert stored_token(store) is not None, "stored before its use"
            assert cloud.counts()["refresh"] == 1
            service.kill()
        cloud.clear_faults()
        with site.start("worker", "tokens"):
            assert client.fetch("one").token
    assert cloud.counts()["refresh"] == 2


def test_kill_between_rotation_and_receipt_requires_a_new_login(
    cloud: SimCloud, site: TokenSite, settings: Settings, store: sa.Engine
) -> None:
    """No client can close this gap; it ends in one alarm, not in a loop."""
    cloud.inject(Fault(kind="refresh", effect=Hang(seconds=60, performed=True), times=1))
    with TokenClient(settings, "power") as client:
        with site.start("worker", "tokens") as service:
            with pytest.raises(TokenRefusedError, match="waiting for the login"):
                client.fetch("one")
            assert cloud.counts()["refresh"] == 1
            service.kill()
        with site.start("worker", "tokens"):
            with pytest.raises(TokenRefusedError, match="another token service") as caught:
                client.fetch("one")
            assert not caught.value.permanent, "the other service may be alive"
            expire_lease(store)

            def invalid() -> bool:
                with pytest.raises(TokenRefusedError) as caught:
                    client.fetch("one")
                return caught.value.error == "invalid_grant"

            until(invalid, 20.0, "the new service's own try")
            assert invalid()
            site.wait_depth("audit", 1)
            site.secret("refresh-token", cloud.mint_refresh_token())
            assert client.fetch("one").token
    assert cloud.counts()["refresh"] == 3


def test_standby_takes_over_from_a_killed_service_repeatedly(
    cloud: SimCloud, site: TokenSite, settings: Settings
) -> None:
    services = [site.start("worker", "tokens")]
    # the first service uses an unused login at once
    until(lambda: _active(services), 20.0, "the first login")
    services.append(site.start("worker", "tokens"))
    try:
        with TokenClient(settings, "power") as client:
            for _ in range(4):
                assert client.fetch("one").token
                busy = until(lambda: _active(services), 20.0, "the one that answers")
                busy.kill()
                services.remove(busy)
                services.append(site.start("worker", "tokens"))
            assert client.fetch("one").token
    finally:
        for service in services:
            service.kill()
    assert cloud.counts()["refresh"] == 5
    assert cloud.counts()["federation"] == 5


def _active(services: list[Child]) -> Child | None:
    """The service that obtained a token last."""
    obtained = [child for child in services if "token_obtained" in child.log.read_text()]
    return obtained[-1] if obtained else None


def test_frozen_predecessor_uses_no_token_after_it_resumes(
    cloud: SimCloud, site: TokenSite, settings: Settings, store: sa.Engine
) -> None:
    argv = [sys.executable, "-m", "tests.faults.frozen_refresh", str(site.config)]
    log = site.folder / "frozen.log"
    with Child(argv, log=log, cwd=REPOSITORY, env=dict(MINIMAL_ENVIRONMENT)) as frozen:
        process = psutil.Process(frozen.pid)
        until(lambda: process.status() == psutil.STATUS_STOPPED, 20.0, "the freeze")
        assert "refresh" not in cloud.counts()
        expire_lease(store)
        with serving(settings), TokenClient(settings, "power") as client:
            assert client.fetch("one").token
            before, counts = stored_token(store), cloud.counts()
            process.resume()
            frozen.wait(20.0)
            assert "refused: provider_away: the lease" in log.read_text()
            assert (stored_token(store), cloud.counts()) == (before, counts)
        with serving(settings), TokenClient(settings, "power") as client:
            assert client.fetch("one").token, "the chain continues"
    assert cloud.counts()["refresh"] == 2
