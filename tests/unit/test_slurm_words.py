"""What is read from Slurm's commands, and what is said by them, however hostile the words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Cause
from tests.testbed.strategies import keys, words
from workers.slurm.causes import OURS, reason
from workers.slurm.nodes import JobState, NodeState, jobs_from, nodes_from

REST = "ThreadsPerCore=1 Weight=1 Partitions=cloud  BootTime=None"
LINE = (
    "NodeName=node2 Arch=x86_64 CoresPerSocket=1 Gres=(null) NodeAddr=127.0.0.1 "
    "NodeHostName=node2.x Port=27822 OS=Linux 6.1 #1 SMP State={} " + REST
)


def test_states_flags_and_addresses_are_read() -> None:
    shown = "\n".join(
        [
            LINE.format("MIXED+CLOUD+NOT_RESPONDING+POWERING_UP"),
            LINE.format("IDLE*+CLOUD").replace("node2", "node3"),
            LINE.format("DOWN+CLOUD+POWERED_DOWN").replace("node2", "a-1")
            + " Reason=lamplighter: quota: used 10 of 10 (all) [slurm@2026-11-24T10:19:54]",
            "",
        ]
    )
    nodes = nodes_from(shown)
    assert list(nodes) == ["node2", "node3", "a-1"]
    flags = frozenset({"CLOUD", "NOT_RESPONDING", "POWERING_UP"})
    assert nodes["node2"] == NodeState("node2", "MIXED", flags, "", "127.0.0.1", "node2.x")
    assert (nodes["node3"].base, nodes["node3"].flags) == ("IDLE", frozenset({"CLOUD"}))
    assert nodes["a-1"].reason == "lamplighter: quota: used 10 of 10 (all)"
    assert (nodes["a-1"].down, nodes["a-1"].out) == (True, True)


def test_jobs_are_read_and_other_lines_left() -> None:
    shown = "12|PENDING|\n13|RUNNING|node[1-2]\nslurm_load_jobs error\nx|PENDING|\n"
    assert jobs_from(shown) == {
        12: JobState(12, "PENDING", ""),
        13: JobState(13, "RUNNING", "node[1-2]"),
    }


@given(keys, words)
def test_a_reason_comes_back_from_slurm_as_it_was_said(error: str, message: str) -> None:
    """Printable ASCII of bounded length, in one line, nothing that Slurm's parsers trip over."""
    said = reason(Cause(error, message))
    assert said.startswith(OURS)
    assert len(said) <= len(OURS) + 240
    assert all(" " <= letter <= "~" for letter in said)
    assert not set(said) & set('="[]`\\')
    shown = LINE.format("DOWN+CLOUD") + f" Reason={said} [root@2026-11-24T10:19:54]"
    assert nodes_from(shown)["node2"].reason == said


@given(st.text())
def test_no_output_breaks_the_reader(text: str) -> None:
    nodes_from(text)
    nodes_from(f"NodeName={text}")
    jobs_from(text)
