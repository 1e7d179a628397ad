"""Fixtures of the integration tests: databases of both kinds, an installation, a power engine."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.testbed.installation import Installation
from tests.testbed.powerbench import NODES, PowerBench
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import Config, Settings
from tests.testbed.stores import STORES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.testbed.postgresql import PostgreSQL

# On SQLite: `store_url` is a database of either kind.


@pytest.fixture(scope="session")
def postgresql() -> PostgreSQL:
    """The PostgreSQL of this run."""
    return STORES.server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, run_dir: Path) -> str:
    """The URL of an empty database; each test that uses it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{run_dir}/store.db"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.create_database()


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> Installation:
    """An installation with its topology and empty stores."""
    made = Installation(run_dir / "site", broker_url)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def _running_cloud() -> Iterator[SimCloud]:
    with SimCloud(Config(settings=Settings(boot_seconds=0.3, stop_seconds=0.2))) as cloud:
        yield cloud


@pytest.fixture
def power_cloud(_running_cloud: SimCloud) -> SimCloud:
    """A cloud with nine powered-off nodes, main1 to main9."""
    _running_cloud.reset()
    _running_cloud.add_servers(NODES)
    return _running_cloud


@pytest.fixture
def open_power_bench(
    power_cloud: SimCloud, run_dir: Path, broker_url: str
) -> Iterator[Callable[..., PowerBench]]:
    """A function that opens an engine on `power_cloud`; it takes PowerBench's options and more clouds."""
    with ExitStack() as opened:

        def start(more: dict[str, SimCloud] | None = None, **options: Any) -> PowerBench:  # noqa: ANN401 - PowerBench's
            clouds = {"main": power_cloud, **(more or {})}
            return opened.enter_context(PowerBench(run_dir, broker_url, clouds, **options))

        yield start


@pytest.fixture
def power_bench(open_power_bench: Callable[..., PowerBench]) -> PowerBench:
    """An engine on `power_cloud`."""
    return open_power_bench()
