"""Spooled notices: as durable as the calls of hooks, published once, unknown to older relays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from producers import notices, spool
from producers.outbox import Sending, messages
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.notices import Notice, notice_from
from tests.testbed.messages import command

if TYPE_CHECKING:
    from pathlib import Path

    from producers.message import Message


def notice(node: str) -> Notice:
    return Notice("hold.placed", "vespa", node, "7", 7_000, "é\n\u2028", "none", {"by": "ann"})


def spooled_notices(*nodes: str) -> notices.SpooledNotices:
    bodies = [(one.id, one.to_envelope().to_json().decode()) for one in map(notice, nodes)]
    return notices.SpooledNotices(7, "ab" * 16, tuple(bodies))


def sent(found: list[Message]) -> list[Notice]:
    assert {message.exchange for message in found} == {"power.events"}
    assert [message.routing_key for message in found] == ["hold.placed"] * len(found)
    return [notice_from(parse(message.body)) for message in found]


def test_notices_are_read_again_as_they_were_written(tmp_path: Path) -> None:
    content = spooled_notices("node1", "node2")
    spool.put(tmp_path, content).release()
    (path,) = spool.waiting(tmp_path)
    assert not path.name.endswith(spool.SUFFIX), "an older relay would set it aside"
    (found,) = spool.claim([path], "vespa", pytest.fail)
    assert found.call == content
    assert sent(list(messages(found.call))) == [notice("node1"), notice("node2")]
    found.release()


def test_notices_that_the_broker_did_not_accept_stay_in_the_spool(tmp_path: Path) -> None:
    spooled = spool.put(tmp_path, spooled_notices("node1", "node2", "node3"))
    batch = Sending(spooled.call, spooled, pytest.fail).batch(1.0)
    batch.left([message for message in batch.messages if message.id == notice("node2").id])
    (found,) = spool.claim(spool.waiting(tmp_path), "vespa", pytest.fail)
    assert found.call == spooled_notices("node2")
    Sending(found.call, found, pytest.fail).batch(1.0).confirmed()
    assert spool.waiting(tmp_path) == []


def test_file_with_anything_else_is_set_aside(tmp_path: Path) -> None:
    request = command(kind=Kind.SUSPEND)
    body = request.to_envelope().to_json().decode()
    for number, content in enumerate(
        (
            b"no JSON",
            b"{}",
            b"[]",
            replace(spooled_notices(), bodies=((request.id, body),)).to_json(),
        )
    ):
        (tmp_path / f"{number:020d}-x{spool.NOTICES}").write_bytes(content)
        with pytest.raises(MalformedMessageError):
            notices.notices_from(content)
    reports: list[str] = []
    assert list(spool.claim(spool.waiting(tmp_path), "vespa", reports.append)) == []
    assert len(list(tmp_path.glob("*.unreadable"))) == len(reports) == 4
