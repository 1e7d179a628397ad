"""The summary for many nodes: how many are done, and the others grouped by cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.nodes.wait_for_outcome import LineReporter, summarize
from schemas.commands import Kind
from schemas.events import Cause, Transition
from tests.testbed.messages import command, event

if TYPE_CHECKING:
    import pytest

ASKED = [command(f"node{number}", kind=Kind.DEPLOY) for number in range(1, 7)]
QUOTA = [Cause("quota", "Quota exceeded for cores"), Cause("quota", "Quota exceeded for ram")]


def test_failures_are_grouped_by_cause_most_frequent_first() -> None:
    ended = [
        event(Transition.COMPLETED, ASKED[0]),
        event(
            Transition.SUPERSEDED, ASKED[1], cause=Cause("superseded", "generation 2 wants it up")
        ),
        event(Transition.FAILED, ASKED[2], cause=QUOTA[0]),
        event(Transition.FAILED, ASKED[3], cause=QUOTA[1]),
    ]
    assert summarize(ASKED, ended, 75) == [
        "1 of 6 nodes done in 1 min 15 s",
        "2 failed, quota: node[3-4] (Quota exceeded for cores; ...)",
        "1 superseded, superseded: node2 (generation 2 wants it up)",
        "2 still in progress: node[5-6]; see lamplighter nodes show NODE",
        "fix the cause, then run: lamplighter dead-letters replay",
    ]


def test_all_done_is_one_line() -> None:
    assert summarize(ASKED[:1], [event(Transition.COMPLETED, ASKED[0])], 0.25) == [
        "1 of 1 nodes done in 0.250 s"
    ]


def test_lines_name_each_node_that_is_not_done_and_are_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = LineReporter(2)
    lines.report([event(Transition.FAILED, ASKED[0], cause=Cause("x", "\x1b[2J\nnode2 completed"))])
    lines.report([])
    lines.report([event(Transition.COMPLETED, ASKED[1])])
    assert capsys.readouterr().out.splitlines() == [
        "node1 failed: x: \\x1b[2J\\nnode2 completed",
        "1 of 2 nodes have ended",
        "2 of 2 nodes have ended",
    ]
