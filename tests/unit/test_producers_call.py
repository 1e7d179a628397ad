"""A hook's call: hostlists in every form that slurmctld gives, and who waits for which node."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.call import HookCall, call_from, commands, expand, expiry
from schemas.commands import Desired, Kind, WaitingJob
from schemas.errors import MalformedMessageError

GENERATION = 1_767_323_045_678_901_000
CALL = HookCall(
    kind=Kind.RESUME,
    cluster="vespa",
    nodes="node[1-3]",
    generation=GENERATION,
    correlation_id="0123456789abcdef" * 2,
    expiry=expiry(GENERATION, 600),
    resume_file=None,
    origin="controller",
)
# As measured: the whole file of Slurm 22.05, and of 24.11.
OLD_FILE = '{"jobs":[{"job_id":1,"nodes":"node[2-3]"}],"all_nodes":"node[2-3]"}'
NEW_FILE = json.dumps(
    {
        "jobs": [
            {
                "extra": None,
                "job_id": 1,
                "features": "f0|f1",
                "nodes_alloc": "node[1-3]",
                "nodes_resume": "node[2-3]",
                "oversubscribe": "YES",
                "partition": "cloud",
                "reservation": None,
            }
        ],
        "all_nodes_resume": "node[2-3]",
    }
)


@pytest.mark.parametrize(
    ("expression", "nodes"),
    [
        ("node1", ["node1"]),
        ("node[2-3]", ["node2", "node3"]),
        ("node[1,3-4]", ["node1", "node3", "node4"]),
        (
            "gpu-a[01-03],hpc[1,7-8],login",
            ["gpu-a01", "gpu-a02", "gpu-a03", "hpc1", "hpc7", "hpc8", "login"],
        ),
        ("x-1-[1-2]", ["x-1-1", "x-1-2"]),
        ("rack[1-2]n[1-2]", ["rack1n1", "rack1n2", "rack2n1", "rack2n2"]),
        ("node[1-2]-ib", ["node1-ib", "node2-ib"]),
        ("c[0998-1001]", ["c0998", "c0999", "c1000", "c1001"]),
        ("node1,node1,node[1-2]", ["node1", "node2"]),
    ],
)
def test_every_form_that_slurmctld_gives(expression: str, nodes: list[str]) -> None:
    assert expand(expression) == nodes


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "node[",
        "node[1-",
        "node[3-1]",
        "node]1[",
        "node[a-b]",
        "no de1",
        "node;reboot",
        "$(id)",
        "node\n1",
        "../etc",
        "node[1-99999999]",
        "-rf",
        "n\u00f6de1",
        "\x00",
    ],
)
def test_what_slurmctld_never_says_is_refused_naming_the_field(expression: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        expand(expression)
    assert caught.value.field == "hostlist"
    assert "slurmctld" in caught.value.remedy


@given(st.text(max_size=40))
def test_no_expression_does_worse_than_being_refused(expression: str) -> None:
    try:
        names = expand(expression)
    except MalformedMessageError:
        return
    assert names
    assert len(set(names)) == len(names)


def test_each_node_has_its_command_with_the_call_s_generation() -> None:
    made = commands(CALL)
    assert [command.node for command in made] == ["node1", "node2", "node3"]
    assert {command.generation for command in made} == {GENERATION}
    assert len({command.id for command in made}) == 3
    assert all(command.desired is Desired.UP for command in made)


def test_sent_again_they_are_the_same_commands() -> None:
    """P3: what a killed hook left behind is the same request when the relay sends it."""
    assert commands(call_from(CALL.to_json())) == commands(CALL)


@pytest.mark.parametrize(
    ("resume_file", "job"),
    [
        (OLD_FILE, WaitingJob(1)),
        (NEW_FILE, WaitingJob(1, features="f0|f1", partition="cloud")),
    ],
    ids=["22.05", "24.11"],
)
def test_each_node_carries_the_jobs_that_wait_for_it(resume_file: str, job: WaitingJob) -> None:
    waiting = {c.node: c.jobs for c in commands(replace(CALL, resume_file=resume_file))}
    assert waiting == {"node1": (), "node2": (job,), "node3": (job,)}


def test_several_jobs_may_wait_for_one_node() -> None:
    jobs = [{"job_id": n, "nodes": "node1"} for n in (7, 8)]
    [first, *_] = commands(replace(CALL, resume_file=json.dumps({"jobs": jobs})))
    assert [job.job_id for job in first.jobs] == [7, 8]


@pytest.mark.parametrize(
    "resume_file",
    [
        "",
        "{",
        "[]",
        "null",
        '{"jobs": 5}',
        '{"jobs": [{}]}',
        '{"jobs": [{"job_id": "1; rm"}]}',
        '{"jobs": [{"job_id": 1, "nodes": "node["}]}',
        '{"jobs": [{"job_id": true, "nodes": "node1"}]}',
        "[" * 100_000,
    ],
)
def test_a_resume_file_that_cannot_be_read_costs_the_jobs_never_the_request(
    resume_file: str,
) -> None:
    made = commands(replace(CALL, resume_file=resume_file))
    assert len(made) == 3
    assert all(command.jobs == () for command in made)
    assert all("SLURM_RESUME_FILE" in (command.note or "") for command in made)


def test_hostile_job_strings_travel_as_data_and_no_longer_than_may_be() -> None:
    hostile = "$(reboot)\n\x1b[31m" + "x" * 10_000
    job = {"job_id": 1, "features": hostile, "nodes": "node1", "partition": 5}
    [first, *_] = commands(replace(CALL, resume_file=json.dumps({"jobs": [job]})))
    [waiting] = first.jobs
    assert waiting.features == hostile[:4096]
    assert waiting.partition is None


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", b'{"kind": "reboot"}', b'{"kind": 5}']
)
def test_a_file_that_no_hook_wrote_is_told_apart(body: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="not written by a hook"):
        call_from(body)
