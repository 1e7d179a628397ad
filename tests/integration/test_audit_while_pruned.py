"""`lamplighter audit export` and `verify` read the log as it was when they began."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from ops.cli.main import cli
from tests.testbed.auditlog import fill
from tests.testbed.installation import Installation
from workers.audit import queries, segments, verify
from workers.audit.segments import Attribution
from workers.audit.signing import load_signer, load_trusted, public_file
from workers.store.database import open_store, reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORDS, PORTION = 40, 10


@pytest.fixture
def site(run_dir: Path, store_url: str) -> Installation:
    return Installation(
        run_dir / "site",
        "amqp://x:y@127.0.0.1:1/v",
        store=f'audit_url = "{store_url}"',
        more='[audit]\nkey_file = "audit.key"\n',
    )


@pytest.fixture
def pruning(site: Installation) -> Callable[[], None]:
    """Drops a sealed segment when it is called first."""
    log = open_store(site.settings.store.audit_url, "audit")
    fill(log, RECORDS // 2)
    key = site.settings.audit.key_file
    signer = load_signer(key)
    by = Attribution("test", "me", time.time_ns(), "old")
    with reading(log) as connection:
        chain = verify.chain_of(connection, load_trusted([public_file(key)]))
        for portion in verify.rows(connection, 0):
            assert list(chain.follow(portion)) == []
    seal = segments.seal(log, signer, by, chain)
    left = [seal]

    def prune() -> None:
        if left:
            assert segments.prune(log, signer, left.pop(), by) == RECORDS
            log.dispose()

    return prune


def run(site: Installation, *words: str) -> str:
    done = CliRunner().invoke(cli, ["--config", str(site.config), "audit", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_an_export_lacks_nothing_that_is_dropped_meanwhile(
    site: Installation, pruning: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrowed = queries._narrowed

    def later(log: Any, query: Any, wanted: queries.Filter, **how: bool) -> Any:  # noqa: ANN401 - its own
        if wanted.after:
            pruning()
        return narrowed(log, query, wanted, **how)

    monkeypatch.setattr(queries, "_PORTION_SIZE", PORTION)
    monkeypatch.setattr(queries, "_narrowed", later)
    file = site.folder / "export.jsonl"
    run(site, "export", str(file))
    numbers = [json.loads(line)["auditseq"] for line in file.read_text().splitlines()]
    assert len(numbers) == RECORDS + 1, "all, and the seal"
    assert "1 records" not in run(site, "verify"), "it was dropped"


def test_a_log_that_is_dropped_meanwhile_is_not_taken_for_changed(
    site: Installation, pruning: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = verify._portion

    def later(connection: Any, after: int, _most: int) -> Any:  # noqa: ANN401 - its own
        if after:
            pruning()
        return read(connection, after, PORTION)

    monkeypatch.setattr(verify, "_portion", later)
    assert f"{RECORDS + 1} records" in run(site, "verify")
