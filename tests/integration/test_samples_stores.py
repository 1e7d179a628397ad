"""Stores of released versions: nothing is lost forward and back, and the current code reads all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from schemas.commands import Desired
from schemas.envelope import parse
from schemas.events import event_from
from tests.samples import FOLDER, VERSIONS, fill, read, rows_of
from workers.audit.record import quarantine_reason, record_of
from workers.audit.signing import load_trusted
from workers.audit.verify import chain_of, rows
from workers.store.database import connect, migrate, open_store, reading
from workers.store.requests import outcomes
from workers.store.snapshots import all_listings, newest

if TYPE_CHECKING:
    import sqlalchemy as sa

Kind = Literal["state", "audit"]
KINDS: tuple[Kind, ...] = ("state", "audit")
CLUSTER = "demo"


def migrated(url: str, kind: Kind, version: str) -> sa.Engine:
    """A store with the sample's rows, opened by the current version."""
    sample = rows_of(version, kind)
    engine = connect(url)
    with engine.begin() as connection:
        migrate(connection, kind, str(sample[f"{kind}_version"][0]["version_num"]))
        fill(connection, sample)
    engine.dispose()
    return open_store(url, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_rows_are_the_same_forward_and_back(store_url: str, kind: Kind, version: str) -> None:
    sample = rows_of(version, kind)
    then = str(sample[f"{kind}_version"][0]["version_num"])
    engine = migrated(store_url, kind, version)
    with engine.begin() as connection:
        migrate(connection, kind, then, back=True)
        assert read(connection, sample) == sample
    for _ in range(2):  # forward again, and nothing to do
        open_store(store_url, kind).dispose()
    with engine.begin() as connection:
        migrate(connection, kind, then, back=True)
        assert read(connection, sample) == sample
    engine.dispose()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_state_is_understood(store_url: str, version: str) -> None:
    """Desired states, outcomes, Slurm's view and the cloud's listing."""
    sample = rows_of(version, "state")
    engine = migrated(store_url, "state", version)
    ended = [row for row in sample["requests"] if row["outcome"]]
    keys = [(str(row["request_id"]), int(str(row["round"]))) for row in ended]
    with reading(engine) as connection:
        found = outcomes(connection, CLUSTER, keys)
        snapshot = newest(connection, CLUSTER)
        listings = list(all_listings(connection, CLUSTER))
    engine.dispose()
    assert {key: str(event_from(parse(one.event)).transition) for key, one in found.items()} == {
        key: row["outcome"] for key, row in zip(keys, ended, strict=True)
    }
    assert snapshot is not None
    assert {"node1", "node2"} <= {one.node for one in snapshot.nodes}
    assert [len(listing.servers) > 0 for listing in listings] == [True]
    assert {Desired(str(row["desired"])) for row in sample["nodes"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_audit_log_verifies_and_is_understood(store_url: str, version: str) -> None:
    sample = rows_of(version, "audit")["audit"]
    engine = migrated(store_url, "audit", version)
    trusted = load_trusted([FOLDER / version / "audit.key.pub"])
    with reading(engine) as connection:
        chain = chain_of(connection, trusted)
        assert [
            finding for portion in rows(connection, 0) for finding in chain.follow(portion)
        ] == []
        assert chain.records == len(sample)
    engine.dispose()
    for row in sample:
        body = row["body"]
        assert isinstance(body, bytes)
        record = record_of(body, CLUSTER, 0)
        assert (record.type, record.subject, record.transition) == (
            row["type"],
            row["subject"],
            row["transition"],
        ), quarantine_reason(body)
