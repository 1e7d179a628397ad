"""A storm depends on its seed; its end waits for what must come to rest."""

from __future__ import annotations

from storm.calm import half_ended, without_end
from storm.evidence import (
    BatchJob,
    Beats,
)
from storm.faults.carrier import FAULTS
from storm.plan import storm


def test_storm_depends_on_its_seed_alone() -> None:
    one, again, other = (storm(seed, 300, 3, "sqlite", 51) for seed in (1, 1, 2))
    assert one == again != other
    assert {fault.kind for fault in storm(1, 3000, 3, "postgresql", 51).faults} == FAULTS.keys()
    assert {fault.kind for fault in one.faults} >= {
        "kill",
        "freeze",
        "broker",
        "answers",
        "operator",
    }
    assert all(fault.at + fault.lasts <= 300 for fault in one.faults)
    assert not any(fault.kind == "partition" for fault in storm(1, 300, 1, "sqlite", 51).faults)


def test_a_het_job_is_torn_apart_if_one_part_waits_and_another_has_ended() -> None:
    lines = (
        "302+0 PENDING\n302+1 COMPLETED\n400+0 PENDING\n400+1 PENDING\n"
        "401+0 COMPLETED\n401+1 COMPLETED\n500 PENDING\n501_2 COMPLETED\n501_3 PENDING\n"
        "600+0 PENDING\n601+0 PENDING\n601+1 FAILED\n602+0 PENDING\n602+1 CONFIGURING\n"
        "603+0 RUNNING\n"
    )
    assert half_ended(lines) == ["302", "600", "601"]


def test_a_job_after_the_storm_proves_something_when_all_its_nodes_show_its_end() -> None:
    proofs = [BatchJob(("8",), 2, 200.0), BatchJob(("9",), 2, 200.0)]
    seen = [Beats("8", f"node{n}", 201.0, 203.0, "end") for n in (1, 2)]
    seen += [Beats("9", "node3", 201.0, 203.0, "end"), Beats("9", "node4", 201.0, 202.0, "term")]
    assert without_end(proofs, seen) == ["9: 1 of 2 nodes"]
    assert without_end(proofs, []) == ["8: 0 of 2 nodes", "9: 0 of 2 nodes"]
