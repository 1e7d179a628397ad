"""Fixtures of the integration tests: stores of both kinds, and a site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testbed.postgresql import PostgreSQL
from tests.testbed.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def postgresql(session_dir: Path) -> Iterator[PostgreSQL]:
    """The PostgreSQL of this run."""
    with PostgreSQL(session_dir / "postgresql") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, run_dir: Path) -> str:
    """The URL of an empty database; a test that takes it runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{run_dir}/store.db"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.create_database()


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> Site:
    """A site with the topology and empty SQLite stores in place."""
    made = Site(run_dir / "site", broker_url)
    made.prepare()
    return made
