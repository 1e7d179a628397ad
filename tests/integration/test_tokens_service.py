"""The token service over a real RabbitMQ, against the simulated cloud."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from keystoneauth1.session import Session

from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.token_site import TokenSite
from workers.tokens.client import TokenClient
from workers.tokens.plugin import TokenServicePlugin
from workers.tokens.service import TokenService
from workers.tokens.sources import make_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workers.settings import Settings


@contextmanager
def serving(settings: Settings) -> Iterator[TokenService]:
    sources = {name: make_source(cloud) for name, cloud in settings.clouds.items()}
    service = TokenService(settings, "tokens under test", sources)
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def cloud() -> Iterator[SimCloud]:
    with SimCloud() as simulation:
        yield simulation


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> TokenSite:
    return TokenSite(run_dir, broker_url)


@pytest.mark.parametrize("way", ["password_cloud", "application_credential_cloud"])
def test_a_thousand_requests_from_32_threads_cost_one_login(
    cloud: SimCloud, site: TokenSite, way: str
) -> None:
    settings = site.settings({"one": getattr(site, way)(cloud.auth_url)})
    site.declare(settings)
    cloud.reset_counts()
    with serving(settings), TokenClient(settings, "power") as client:
        plugin = TokenServicePlugin(client, "one", cloud.auth_url)
        session = Session(auth=plugin)
        with ThreadPoolExecutor(32) as pool:
            tokens = set(pool.map(lambda _: session.get_token(), range(1000)))
        compute = session.get_endpoint(service_type="compute", skip_discovery=True)
    assert len(tokens) == 1
    assert compute is not None
    assert compute.startswith(cloud.url)
    kind = "token_" + way.removesuffix("_cloud")
    assert cloud.counts() == {kind: 1}
