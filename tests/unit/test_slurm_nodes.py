"""Parsing the output of Slurm's commands, and the reasons that are passed to them; input is untrusted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Cause
from schemas.snapshot import OWN_REASON
from tests.testbed.strategies import keys, words
from workers.slurm.causes import reason
from workers.slurm.nodes import JobState, NodeState, jobs_from, nodes_from

REST = "ThreadsPerCore=1 Weight=1 Partitions=cloud  BootTime=None"
LINE = (
    "NodeName=node2 Arch=x86_64 CoresPerSocket=1 Gres=(null) NodeAddr=127.0.0.1 "
    "NodeHostName=node2.x Port=27822 OS=Linux 6.1 #1 SMP State={} " + REST
)


def test_states_flags_and_addresses_are_parsed() -> None:
    output = "\n".join(
        [
            LINE.format("MIXED+CLOUD+NOT_RESPONDING+POWERING_UP"),
            LINE.format("IDLE*+CLOUD").replace("node2", "node3"),
            LINE.format("DOWN+CLOUD+POWERED_DOWN").replace("node2", "a-1")
            + " Reason=lamplighter: quota: used 10 of 10 (all) [slurm@2026-11-24T10:19:54]",
            "",
        ]
    )
    nodes = nodes_from(output)
    assert list(nodes) == ["node2", "node3", "a-1"]
    flags = frozenset({"CLOUD", "NOT_RESPONDING", "POWERING_UP"})
    assert nodes["node2"] == NodeState(
        "node2", "MIXED", flags, "", "127.0.0.1", "node2.x", partitions="cloud"
    )
    assert (nodes["node3"].base, nodes["node3"].flags) == ("IDLE", frozenset({"CLOUD"}))
    assert nodes["a-1"].reason == "lamplighter: quota: used 10 of 10 (all)"
    assert (nodes["a-1"].down, nodes["a-1"].powered_down) == (True, True)


def test_jobs_are_parsed_and_other_lines_ignored() -> None:
    output = "12|PENDING|\n13|RUNNING|node[1-2]\nslurm_load_jobs error\nx|PENDING|\n"
    assert jobs_from(output) == {
        12: JobState(12, "PENDING", ""),
        13: JobState(13, "RUNNING", "node[1-2]"),
    }


@given(keys, words)
def test_reason_is_parsed_from_slurm_as_it_was_set(error: str, message: str) -> None:
    """One printable line, of limited length, without characters that Slurm interprets."""
    text = reason(Cause(error, message))
    assert text.startswith(OWN_REASON)
    assert len(text) <= len(OWN_REASON) + 240
    assert text.isprintable()
    assert not set(text) & set('="[]`\\')
    output = LINE.format("DOWN+CLOUD") + f" Reason={text} [root@2026-11-24T10:19:54]"
    assert nodes_from(output)["node2"].reason == text


def test_words_of_any_language_stay_in_the_reason() -> None:
    assert reason(Cause("quota", "dépassé:\u202e 配額")) == f"{OWN_REASON}quota: dépassé: 配額"


@given(st.text())
def test_parsers_accept_any_output(text: str) -> None:
    nodes_from(text)
    nodes_from(f"NodeName={text}")
    jobs_from(text)
