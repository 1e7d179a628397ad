"""`topology check` names queues that would not survive, or do not survive, the loss of a node."""

from __future__ import annotations

import re

import pytest

from ops.site.held import HeldQueue
from ops.site.topology_check import _members

NODES = ("rabbit@a", "rabbit@b", "rabbit@c")


@pytest.mark.parametrize(
    ("members", "online", "nodes", "found"),
    [
        (NODES, NODES, NODES, []),
        (NODES, NODES[:2], NODES, []),
        (NODES, NODES[:1], NODES, ["no quorum: 1 of its 3 nodes answer"]),
        (NODES, None, NODES, ["no quorum: 0 of its 3 nodes answer"]),
        (NODES[:1], NODES[:1], NODES[:1], []),
        (
            NODES[:1],
            NODES[:1],
            NODES,
            ["on 1 of 3 nodes: .* grow NODE all, for rabbit@b, rabbit@c"],
        ),
        (NODES[:2], NODES[:1], NODES, ["no quorum: 1 of its 2", "on 2 of 3 nodes"]),
        (NODES, NODES, (*NODES, "rabbit@d", "rabbit@e"), []),
    ],
)
def test_members_and_quorum(
    members: tuple[str, ...],
    online: tuple[str, ...] | None,
    nodes: tuple[str, ...],
    found: list[str],
) -> None:
    queue = HeldQueue(
        "power.resume", True, {}, members=[*members], online=None if online is None else [*online]
    )
    lines = list(_members(queue, nodes))
    assert len(lines) == len(found)
    for line, words in zip(lines, found, strict=True):
        assert re.search(words, line)
