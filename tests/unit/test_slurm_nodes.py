"""Parsing the output of Slurm's commands, and the reasons that are passed to them; input is untrusted."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.events import Cause
from schemas.snapshot import OWN_REASON, PartitionTimes, Power, PowerSaving, SlurmNode
from tests.testbed.strategies import keys, words
from workers.slurm.causes import reason
from workers.slurm.nodes import (
    UNREADABLE,
    JobState,
    NodeState,
    job_format,
    jobs_from,
    nodes_from,
)
from workers.slurm.power_saving import power_saving_from

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
    state = NodeState("node2", "MIXED", flags, "", "127.0.0.1", "node2.x", partitions="cloud")
    assert nodes["node2"] == state
    assert (nodes["node3"].base, nodes["node3"].flags) == ("IDLE", frozenset({"CLOUD"}))
    assert nodes["a-1"].reason == "lamplighter: quota: used 10 of 10 (all)"
    assert (nodes["a-1"].down, nodes["a-1"].powered_down) == (True, True)


MARK = "|0123456789abcdef|"
JOB = MARK.join(
    (
        *("12", "RUNNING", "node[1-2]", "1767323045", "N/A", "NONE"),
        *("ann", "256", "{}", "a,b", "Priority", "11", "\n"),
    )
)
SUBMITTED = 1767323045 * 10**9


def test_jobs_are_read_and_malformed_ones_are_omitted() -> None:
    output = JOB.format("x") + JOB.replace("12", "12_3").format("") + JOB.replace("12", "²")
    job = JobState(12, "RUNNING", "node[1-2]", SUBMITTED, user="ann", exit_code=256, script="x")
    job = replace(job, partitions="a,b", reason="Priority", leader=11)
    assert jobs_from(output, MARK) == {12: job}
    assert job_format(MARK).split(",")[0] == f"JobID:{MARK}"
    assert jobs_from("slurm_load_jobs error\n", MARK) == {}


@given(st.lists(words, max_size=4))
def test_script_path_cannot_imitate_another_job(scripts: list[str]) -> None:
    lines = [
        JOB.replace("12", str(i), 1).replace("{}", script) for i, script in enumerate(scripts, 1)
    ]
    found = jobs_from("".join(lines), MARK)
    assert [(job.job_id, job.script) for job in found.values()] == list(enumerate(scripts, 1))


SETTER = " [slurm@1767323045]"
# All that Python or a terminal takes for the end of a line, and other control characters.
ENDS = st.sampled_from(
    [*map(chr, range(1, 32)), "\x7f", "\x85", "\xa0", "\u2028", "\u2029", "\ufffd"]
)


def read_reason(free: str) -> str:
    (node,) = nodes_from(LINE.format("DOWN+CLOUD") + free + "\n").values()
    assert node.base == "DOWN"
    return node.reason


@given(st.sampled_from(["Not responding", "lamplighter: quota: x", ""]), ENDS, words)
def test_reason_with_a_control_character_is_read_as_it_is_or_not_at_all(
    first: str, end: str, rest: str
) -> None:
    """Slurm prints who set it after the first line, and further lines after eight spaces."""
    lines = [line for line in f"{first}{end}{rest}".split("\n") if line]
    assume(lines)
    further = "".join(f"{' ' * 8}{line}" for line in lines[1:])
    found = read_reason(f" Reason={lines[0]}{SETTER}{further}")
    if len(lines) > 1 or "@" in lines[0]:
        assert found in {UNREADABLE, lines[0]}
        assert found == UNREADABLE or len(lines) == 1
    else:
        assert found == lines[0]


@pytest.mark.parametrize(
    ("free", "reason"),
    [
        ("", ""),
        (" Comment=rack 2 Reason=old [x@1]", ""),
        (" Comment=a\tb Extra=Reason=old [x@1]", ""),
        (" Extra=Comment=Reason=old [x@1]", ""),
        (f" Reason=Not responding{SETTER}", "Not responding"),
        (f" Reason=Not responding{SETTER} Comment=rack 2 Extra=x", "Not responding"),
        (f" Reason=a Comment=b{SETTER}", "a Comment=b"),
        (f" Reason=Not responding{SETTER}        ticket 4711", UNREADABLE),
        (f" Reason=disk is odd\r{SETTER}        ticket 4711", UNREADABLE),
        (f" Reason=Not responding [x@1] Comment=b{SETTER}", UNREADABLE),
        (" Reason=Not responding", UNREADABLE),
    ],
)
def test_reason_is_known_by_its_place_and_read_whole_or_not_at_all(free: str, reason: str) -> None:
    assert read_reason(free) == reason
    assert SlurmNode("node2", "DOWN+CLOUD", UNREADABLE).power is Power.SET_DOWN


def test_nothing_is_known_of_a_node_that_a_comment_imitates() -> None:
    real = LINE.format("DOWN+CLOUD") + " Comment=x\n"
    imitated = LINE.replace("node2", "node3", 1).format("IDLE")
    nodes = nodes_from(real + imitated + "\n" + LINE.replace("node2", "node3", 1).format("DOWN"))
    assert nodes["node2"].down
    assert nodes["node3"] == NodeState("node3", "", reason=UNREADABLE)
    spoofed = nodes_from(LINE.replace("OS=Linux", "OS=x State=IDLE").format("DOWN"))
    assert spoofed["node2"].base == ""


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


TOKENS = st.sampled_from(
    [
        *("NodeName=", " State=", " Reason=", " Comment=", " [", "@", "]", "\n", MARK, ":"),
        *("9" * 5000, "[1-9]", "[0-99999999]", ","),
    ]
)


def test_words_of_any_language_stay_in_the_reason() -> None:
    assert reason(Cause("quota", "dépassé:\u202e 配額")) == f"{OWN_REASON}quota: dépassé: 配額"


@given(st.lists(st.one_of(st.text(), TOKENS), max_size=40).map("".join))
def test_readers_accept_any_output(text: str) -> None:
    nodes_from(text)
    nodes_from(f"NodeName={text}")
    jobs_from(text, MARK)
    jobs_from(JOB.replace("{}", text), MARK)
    for line in ("ResumeTimeout = {}", "SuspendExcNodes = {}", "SuspendExcParts = {}", "{}"):
        both = "ResumeTimeout = 60 sec\nSuspendTimeout = 5 sec\n"
        power_saving_from(line.format(text) + "\n" + both, f"PartitionName={text}\n{text}", dict)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [" Reason=", " [x@1]", "[", " [x@", "NodeName=a\n", MARK, "a,"])
def test_readers_take_time_in_proportion_to_the_output(unit: str) -> None:
    """A quadratic reader would take minutes."""
    text = unit * (2_000_000 // len(unit))
    began = time.process_time()
    nodes_from(f"NodeName={text}")
    jobs_from(text, MARK)
    power_saving_from(f"SuspendExcNodes = {text}", "", dict)
    power_saving_from(
        "ResumeTimeout = 1 sec\nSuspendTimeout = 1 sec\n", f"PartitionName={text}", dict
    )
    assert time.process_time() - began < 20


def test_power_saving_is_read_from_the_configuration() -> None:
    output = (
        "Configuration data as of 2026-11-28T17:50:06\n"
        "ResumeTimeout           = 60 sec\n"
        "SuspendExcNodes         = node[1-9]:2,login[1-2]\n"
        "SuspendExcParts         = static,debug\n"
        "SuspendTime             = INFINITE\n"
        "SuspendTimeout          = 5 sec\n"
    )
    nodes = {
        name: NodeState(name, "IDLE", partitions=of)
        for name, of in (("node7", "cloud,debug"), ("node8", "cloud"), ("node9", ""))
    }
    excluded = ("login1", "login2", "node7")
    assert power_saving_from(output, "", lambda: nodes) == PowerSaving(60, 5, None, excluded)
    longer = output.replace("INFINITE", "600 sec").replace("static,debug", "(null)")
    assert power_saving_from(longer, "", dict) == PowerSaving(60, 5, 600, excluded[:2])
    assert power_saving_from("ResumeTimeout = 60 sec\n", "", dict) is None


@pytest.mark.parametrize(
    ("text", "excluded"),
    [
        ("nid[10-20]:4,nid[60-61]", ("nid60", "nid61")),
        ("nid[1-3],nid[10-20]:4", ()),
        ("nid1:1,nid2,nid[3-4]:1,nid5,nid6", ("nid5", "nid6")),
        ("nid1,nid2", ("nid1", "nid2")),
    ],
)
def test_nodes_before_a_number_are_not_excluded_themselves(
    text: str, excluded: tuple[str, ...]
) -> None:
    """slurm.conf(5), SuspendExcNodes: only a list after the last number has none."""
    times = "ResumeTimeout = 60 sec\nSuspendTimeout = 5 sec\n"
    found = power_saving_from(f"{times}SuspendExcNodes = {text}", "", dict)
    assert found is not None
    assert found.excluded == excluded


@pytest.mark.parametrize(
    ("line", "times"),
    [
        ("PartitionName=a Nodes=n[1-2] State=UP TRES=cpu=4,node=2", None),
        ("PartitionName=a Nodes=n1 ResumeTimeout=GLOBAL SuspendTime=INFINITE", None),
        (
            "PartitionName=a Nodes=n1 ResumeTimeout=111 SuspendTimeout=GLOBAL",
            (("n1",), 111, None, None),
        ),
        ("PartitionName=a Nodes=(null) SuspendTimeout=9 SuspendTime=77", ((), None, 9, 77)),
        ("PartitionName=a Nodes=n[1- ResumeTimeout=0x6 SuspendTime=1_0", None),
        ("Nodes=n1 ResumeTimeout=111", None),
    ],
)
def test_partitions_with_times_of_their_own_are_read(
    line: str, times: tuple[tuple[str, ...], int | None, int | None, int | None] | None
) -> None:
    config = "ResumeTimeout = 60 sec\nSuspendTimeout = 5 sec\n"
    found = power_saving_from(config, f"{line}\n\n", dict)
    assert found is not None
    assert found.partitions == (() if times is None else (PartitionTimes("a", *times),))


@pytest.mark.parametrize(
    ("flags", "unavailable"),
    [
        ("CLOUD NOT_RESPONDING POWERED_DOWN", True),
        ("CLOUD NOT_RESPONDING PLANNED POWERED_DOWN", True),  # as a storm has met it
        ("CLOUD NOT_RESPONDING PLANNED POWERED_DOWN RESERVED", True),
        ("CLOUD PLANNED POWERED_DOWN", False),
        ("CLOUD DRAIN NOT_RESPONDING POWERED_DOWN", False),
        ("CLOUD NOT_RESPONDING POWERED_DOWN POWERING_UP", False),
        ("CLOUD MAINTENANCE NOT_RESPONDING POWERED_DOWN", False),
    ],
)
def test_a_node_that_slurmctld_lost_from_view_is_known_by_its_state_whatever_is_planned_for_it(
    flags: str,
    unavailable: bool,  # noqa: FBT001
) -> None:
    assert NodeState("node1", "IDLE", frozenset(flags.split())).unavailable is unavailable
    assert not NodeState("node1", "DOWN", frozenset(flags.split())).unavailable
