"""A hook call: Slurm's hostlists and resume files, and malformed ones."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers import hosts
from producers.call import HookCall, call_from, commands, own_time
from producers.hosts import expand
from schemas.commands import Desired, Kind, WaitingJob, parse_command
from schemas.envelope import MOST_BYTES
from schemas.errors import MalformedMessageError

CALL = HookCall(
    kind=Kind.RESUME,
    cluster="test",
    nodes="node[2-3]",
    generation=1_767_323_045_678_901_234,
    correlation_id="0123456789abcdef0123456789abcdef",
    expiry=1_767_323_645_678_901_234,
    resume_file=None,
    origin="controller",
)
SPOOLED = sorted((Path(__file__).parents[1] / "samples/0.1.0/spool").glob("*.call"))
# Resume files as slurmctld writes them, in these versions.
FILE_22_05 = '{"jobs":[{"job_id":1,"nodes":"node[2-3]"}],"all_nodes":"node[2-3]"}'
FILE_24_11 = (
    '{"jobs":[{"extra":null,"job_id":1,"features":"f0|f1","nodes_alloc":"node[1-3]",'
    '"nodes_resume":"node[2-3]","oversubscribe":"YES","partition":"cloud","reservation":null}],'
    '"all_nodes_resume":"node[2-3]"}'
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def jobs_of(resume_file: str | None, nodes: str = "node[2-3]") -> dict[str, tuple[WaitingJob, ...]]:
    sent = commands(replace(CALL, nodes=nodes, resume_file=resume_file))
    return {command.node: command.jobs for command in sent}


def note_of(resume_file: str) -> str:
    (note,) = {command.note for command in commands(replace(CALL, resume_file=resume_file))}
    assert note is not None
    return note


def test_a_relay_of_0_1_0_reads_what_newer_hooks_have_spooled() -> None:
    """It runs on for a while after an upgrade, and sets a call aside that has a name which it does not know."""
    known = {name for sample in SPOOLED for name in json.loads(sample.read_text())}
    stamped_at_once = replace(CALL, called=own_time(CALL.generation - 10**9, CALL.generation))
    assert json.loads(stamped_at_once.to_json()).keys() == known


def test_a_call_after_the_clock_was_set_back_keeps_its_own_time_in_the_spool() -> None:
    called = CALL.generation - 12 * 10**9
    kept = call_from(replace(CALL, called=own_time(called, CALL.generation)).to_json())
    assert {command.time for command in commands(kept)} == {called}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("node2", ["node2"]),
        ("login", ["login"]),
        ("node[2-3]", ["node2", "node3"]),
        ("node[7]", ["node7"]),
        ("node[1-3,7]", ["node1", "node2", "node3", "node7"]),
        ("c[001-003]", ["c001", "c002", "c003"]),
        ("c[008-011]", ["c008", "c009", "c010", "c011"]),
        ("c[098-101]", ["c098", "c099", "c100", "c101"]),
        ("x-1-[1-2]", ["x-1-1", "x-1-2"]),
        ("n[1-2]-ib", ["n1-ib", "n2-ib"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("r[1-2]n[1,3]-x", ["r1n1-x", "r1n3-x", "r2n1-x", "r2n3-x"]),
        ("n[1-2].example.org", ["n1.example.org", "n2.example.org"]),
        ("n1,n1,n[1-2]", ["n1", "n2"]),
        ("[1-2]", ["1", "2"]),
        (
            "gpu-a[01-02],hpc[1-2,7-8],login,x-1-[1-2]",
            ["gpu-a01", "gpu-a02", "hpc1", "hpc2", "hpc7", "hpc8", "login", "x-1-1", "x-1-2"],
        ),
    ],
)
def test_every_hostlist_form_of_slurm_is_expanded(expression: str, names: list[str]) -> None:
    assert expand(expression) == names


def test_the_largest_cluster_fits_in_one_call() -> None:
    assert len(expand(f"n[1-{hosts.MOST_NODES}]")) == hosts.MOST_NODES


@pytest.mark.parametrize(
    "expression",
    [
        "",
        ",",
        " ",
        "node[1-2",
        "node1-2]",
        "node[[1-2]]",
        "node[]",
        "node[a-b]",
        "node[3-1]",
        "node[1-2-3]",
        "node]1[",
        "node\n1",
        "node[-1]",
        "node[1,]",
        "node1 node2",
        "node1\n",
        "node[1\n]",
        "-rf",
        "../etc",
        "node;reboot",
        "node$(id)",
        "n\u00f6de1",
        "node[\u0661-\u0663]",
        "node\udcff1",
        "node\x00",
        "n" * 254,
    ],
)
def test_a_malformed_hostlist_is_rejected_with_a_remedy(expression: str) -> None:
    with pytest.raises(MalformedMessageError, match="hostlist: ") as rejection:
        expand(expression)
    assert "give a hostlist as slurmctld does" in rejection.value.remedy


@pytest.mark.parametrize(
    "expression",
    [
        f"n[1-{hosts.MOST_NODES + 1}]",
        "n[1-999999999999999999]",
        f"n[1-{'9' * 5000}]",
        f"n[{'0' * 5000}1-9]",
        f"n[{'1' * 5000}]",
        "n[1-60000],m[1-60000]",
        f"n[{','.join(['1-60000'] * 10_000)}]",
        ",".join(["n[1-300]m[1-200]"] * 5_000),
        "n" + "[1-2]" * 40,
        "n" + "[1]" * 30_000,
        "[" * 100_000,
        "]" * 100_000,
        "[1-60000" * 10_000,
        "," * 100_000,
        "n1," * 40_000 + "[",
    ],
)
def test_an_enormous_hostlist_is_rejected_at_once(expression: str) -> None:
    started = time.process_time()
    with pytest.raises(MalformedMessageError) as rejection:
        expand(expression)
    assert time.process_time() - started < 1.0
    assert len(str(rejection.value)) < 500


@given(st.text(alphabet="n01-9[],.x \n", max_size=40) | st.text(max_size=20))
def test_any_text_is_expanded_or_rejected(expression: str) -> None:
    try:
        names = expand(expression)
    except MalformedMessageError:
        return
    assert names
    assert len(set(names)) == len(names)


def test_each_node_has_one_command_with_the_calls_ids() -> None:
    sent = commands(CALL)
    assert [command.node for command in sent] == ["node2", "node3"]
    assert {command.generation for command in sent} == {CALL.generation}
    assert len({command.id for command in sent}) == 2
    assert all(command.desired is Desired.UP for command in sent)
    assert sent == commands(CALL), "sent again it is the same request"


def test_the_resume_file_of_22_05_names_the_jobs() -> None:
    job = (WaitingJob(1),)
    assert jobs_of(FILE_22_05) == {"node2": job, "node3": job}


def test_the_resume_file_of_24_11_names_jobs_and_features() -> None:
    job = (WaitingJob(1, features="f0|f1", partition="cloud"),)
    assert jobs_of(FILE_24_11) == {"node2": job, "node3": job}


def test_each_node_has_only_the_jobs_that_wait_for_it() -> None:
    file = {
        "jobs": [
            {"job_id": 1, "nodes": "node[2-3]"},
            {"job_id": 2, "nodes": "node3"},
            {"job_id": 3, "nodes": "node[8-9]"},
        ],
        "all_nodes": "node[2-3]",
    }
    assert jobs_of(json.dumps(file)) == {
        "node2": (WaitingJob(1),),
        "node3": (WaitingJob(1), WaitingJob(2)),
    }


@pytest.mark.parametrize("file", [None, '{"jobs":[],"all_nodes":"node[2-3]"}'])
def test_a_call_without_jobs_has_commands_without_jobs(file: str | None) -> None:
    assert jobs_of(file) == {"node2": (), "node3": ()}
    assert commands(replace(CALL, resume_file=file))[0].note is None


@pytest.mark.parametrize(
    "file",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"jobs":null}',
        '{"jobs":7}',
        '{"all_nodes":"node2"}',
        "[" * 100_000,
        '{"jobs":[{"job_id":' + "1" * 5000 + "}]}",
    ],
)
def test_an_unreadable_resume_file_loses_only_the_jobs(file: str) -> None:
    assert jobs_of(file) == {"node2": (), "node3": ()}
    assert "SLURM_RESUME_FILE" in note_of(file)
    assert len(note_of(file)) < 500


@pytest.mark.parametrize(
    "job",
    [
        None,
        7,
        "job",
        [],
        {},
        {"job_id": 7},
        {"job_id": "7", "nodes": "node2"},
        {"job_id": True, "nodes": "node2"},
        {"job_id": 0, "nodes": "node2"},
        {"job_id": 2**63, "nodes": "node2"},
        {"job_id": 7, "nodes": "node["},
        {"job_id": 7, "nodes": ["node2"]},
        {"job_id": 7, "nodes": None},
    ],
)
def test_an_unreadable_job_loses_only_that_job(job: object) -> None:
    file = json.dumps({"jobs": [{"job_id": 1, "nodes": "node2"}, job]})
    assert jobs_of(file) == {"node2": (WaitingJob(1),), "node3": ()}
    assert "SLURM_RESUME_FILE" in note_of(file)


def test_an_earlier_problem_is_kept_in_the_note() -> None:
    (first, *_) = commands(replace(CALL, resume_file="{", note="hooks.state: no space"))
    assert first.note
    assert first.note.startswith("hooks.state: no space; SLURM_RESUME_FILE: ")


def test_untrusted_job_texts_are_sent_as_data_and_cut() -> None:
    hostile = "$(reboot)\n\x1b[31m" + "x" * 10_000
    file = {"jobs": [{"job_id": 1, "features": hostile, "nodes": "node2", "partition": 5}]}
    first, _ = commands(replace(CALL, resume_file=json.dumps(file)))
    (job,) = parse_command(first.to_envelope().to_json()).jobs
    assert job.features == hostile[:400]
    assert job.partition is None


@given(
    st.text()
    | json_values.map(json.dumps)
    | st.fixed_dictionaries(
        {
            "jobs": st.lists(
                st.fixed_dictionaries(
                    {"job_id": st.integers(), "nodes": st.just("node[1-3]")},
                    optional={"features": json_values, "partition": st.text()},
                )
            )
        }
    ).map(json.dumps)
)
@example('{"jobs":[{"job_id":1,"nodes":"node2","features":"\\ud800"}]}')
@example(json.dumps({"jobs": [{"job_id": 1, "nodes": "node2", "features": "f" * 10_000}]}))
def test_the_workers_read_the_command_for_any_content_of_the_resume_file(file: str) -> None:
    for command in commands(replace(CALL, resume_file=file)):
        read = parse_command(command.to_envelope().to_json())
        assert read.id == command.id
        for job in read.jobs:
            assert job.features is None or job.features.encode()


@given(st.sampled_from(Kind), st.none() | st.text(), st.none() | st.text())
def test_a_call_comes_back_from_disk_unchanged(
    kind: Kind, file: str | None, note: str | None
) -> None:
    image = "an image" if kind is Kind.BAKE else None  # a bake needs a name
    call = replace(CALL, kind=kind, resume_file=file, note=note, image=image)
    assert call_from(call.to_json()) == call


def altered(**fields: Any) -> bytes:  # noqa: ANN401 - any JSON
    return json.dumps({**json.loads(CALL.to_json()), **fields}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b"[" * 100_000,
        CALL.to_json()[:-1],
        altered(kind="dance"),
        altered(kind=None),
        altered(cluster=5),
        altered(cluster="a b"),
        altered(nodes=""),
        altered(nodes="node["),
        altered(nodes=["node1"]),
        altered(generation=0),
        altered(generation="1"),
        altered(generation=1.5),
        altered(generation=2**63),
        altered(generation=10**40),
        altered(correlation_id="AB"),
        altered(correlation_id=None),
        altered(expiry="soon"),
        altered(expiry=10**40),
        altered(expiry=-(10**12)),
        altered(origin=""),
        altered(origin=5),
        altered(note=5),
        altered(more="than a hook writes"),
    ],
)
def test_a_spool_file_that_no_hook_wrote_is_rejected(body: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="not written by a hook"):
        call_from(body)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", ["n[1-65536]", ",".join(["n[1-2]"] * 30_000)])
def test_jobs_that_name_too_many_nodes_in_all_are_read_in_part(nodes: str) -> None:
    """A small file may name billions of nodes: the hook and each later sweep of the relay read it."""
    jobs = [{"job_id": 1, "nodes": "n1"}]
    jobs += [{"job_id": number, "nodes": nodes} for number in range(2, 1000)]
    (command,) = commands(
        replace(CALL, nodes="n1", resume_file=json.dumps({"jobs": jobs}), note=None)
    )
    read = len(command.jobs)
    assert 2 <= read <= 6
    assert command.note == (
        f"SLURM_RESUME_FILE: from job {read + 1} on, nodes are too many to be read"
    )


def test_a_flood_of_jobs_makes_neither_a_late_hook_nor_a_message_that_no_broker_takes() -> None:
    """What is left out is said; the nodes are asked for all the same."""
    flood = [{"job_id": n + 1, "nodes": "node2"} for n in range(70_000)]
    began = time.process_time()
    first, second = commands(
        replace(CALL, nodes="node[2-3]", resume_file=json.dumps({"jobs": flood}))
    )
    assert time.process_time() - began < 3.0
    assert (len(first.jobs), second.jobs) == (1000, ())
    assert first.note == "SLURM_RESUME_FILE: names 70000 jobs; the first 65536 are read"
    few = json.dumps({"jobs": flood[:1001]})
    assert note_of(few) == "SLURM_RESUME_FILE: names more than 1000 jobs of node2"
    assert len(first.to_envelope().to_json()) < 2**20


def test_jobs_with_the_longest_texts_make_no_message_that_no_worker_takes() -> None:
    """Such a call would stay in the spool for ever, and its node down."""
    texts = dict.fromkeys(("features", "partition", "reservation"), "\U0001f4a1" * 1500)
    jobs = [{"job_id": 2**63 - 1 - n, "nodes": "node2", **texts} for n in range(1000)]
    file = json.dumps({"jobs": jobs}, ensure_ascii=False)
    body = commands(replace(CALL, resume_file=file))[0].to_envelope().to_json()
    assert len(body) < MOST_BYTES
    assert len(parse_command(body).jobs) == 1000
