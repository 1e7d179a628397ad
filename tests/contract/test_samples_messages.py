"""Messages and spool files of released versions are understood by whoever receives them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from producers import outbox, spool
from producers.call import HookCall
from schemas.commands import Kind, parse_command
from schemas.snapshot import TYPE as SNAPSHOT
from schemas.snapshot import parse_snapshot
from tests.contract.test_messages import violations
from tests.samples import FOLDER, VERSIONS
from workers.audit.record import quarantine_reason, record_of

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = sorted(FOLDER.glob("*/messages/*.json"))
COMMANDS = {kind.type for kind in Kind}
# Of each version: the types that it sent.
SENT = {"0.1.0": 28}
# The calls are of one cluster, the notices of another.
CLUSTERS = ("vespa", "demo")


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_each_message_is_valid_and_read_in_full(path: Path) -> None:
    body = path.read_bytes()
    type_ = json.loads(body)["type"]
    assert path.stem == type_.removeprefix("lamplighter.")
    assert violations(type_, body) == []
    if type_ in COMMANDS:
        command = parse_command(body)
        assert command.to_envelope().type == type_
        # its ID, by which repetitions are recognised, stays the same
        assert command.id == json.loads(body)["id"]
    elif type_ == SNAPSHOT:
        assert parse_snapshot(body).nodes
    else:
        record = record_of(body, "other", 0)
        assert record.type == type_, quarantine_reason(body)
        assert record.source != "other"


@pytest.mark.parametrize("version", VERSIONS)
def test_no_sample_is_missing(version: str) -> None:
    assert len([path for path in MESSAGES if path.parts[-3] == version]) == SENT[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_spool_files_are_sent_with_the_same_ids(run_dir: Path, version: str) -> None:
    folder = run_dir / "spool"
    shutil.copytree(FOLDER / version / "spool", folder)
    sent, kinds = set(), set()
    reports: list[str] = []
    files = spool.waiting(folder)
    for spooled in (file for one in CLUSTERS for file in spool.claim(files, one, reports.append)):
        sent |= {message.id for message in outbox.messages(spooled.call)}
        kinds |= {spooled.call.kind} if isinstance(spooled.call, HookCall) else set()
        spooled.done()
    assert kinds == set(Kind)
    assert list(folder.iterdir()) == []
    # the first node of each call, and the notices, are among the messages
    names = [path for path in MESSAGES if path.parts[-3] == version]
    messages = [json.loads(path.read_bytes()) for path in names]
    spooled_ids = {
        one["id"] for one in messages if one["type"] in COMMANDS or ".hold." in one["type"]
    }
    assert spooled_ids <= sent
