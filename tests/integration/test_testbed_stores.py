"""With STORE=postgresql each file that a test names stands for a database of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.testbed.stores import KINDS, POSTGRESQL, SQLITE, VARIABLE, Stores
from workers.store.database import connect, open_store

if TYPE_CHECKING:
    from tests.testbed.postgresql import PostgreSQL

ROOT = Path(__file__).parents[2]


def test_a_file_stands_for_one_database_until_its_folder_is_gone(
    run_dir: Path, postgresql: PostgreSQL
) -> None:
    site, other = run_dir / "site", run_dir / "other"
    site.mkdir()
    other.mkdir()
    stores = Stores()
    with stores.serving(POSTGRESQL, lambda: nullcontext(postgresql)):
        state, audit = stores.pair(site)
        assert state != audit
        assert stores.url(site / "state.db") == state
        store = open_store(state, "state")  # its connections stay open
        empty = connect(audit)
        with empty.connect() as connection:
            assert sa.inspect(connection).get_table_names() == []
        shutil.rmtree(site)
        assert stores.url(other / "state.db") not in {state, audit}
        for gone in (state, audit):
            with pytest.raises(sa.exc.OperationalError, match="does not exist"):
                sa.create_engine(gone).connect()
        for used in (store, empty):
            used.dispose()
    assert stores.kind == SQLITE


def test_sqlite_names_files_beside_the_configuration(tmp_path: Path) -> None:
    stores = Stores()
    assert [sa.make_url(url).database for url in stores.pair(tmp_path)] == ["state.db", "audit.db"]
    assert sa.make_url(stores.url(tmp_path / "x.db")).database == f"{tmp_path}/x.db"
    with pytest.raises(RuntimeError, match="outside of a test run"):
        _ = stores.server


def test_a_database_that_nobody_knows_is_refused() -> None:
    words = [sys.executable, "-m", "pytest", "--collect-only", "tests/unit/test_house.py"]
    done = subprocess.run(
        words, env={VARIABLE: "mysql"}, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{VARIABLE} must be one of {', '.join(KINDS)}: mysql" in done.stderr
