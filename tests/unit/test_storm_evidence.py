"""What a storm has left is read as it was written: by slurmctld, by our programs, by the jobs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import structlog

from storm.collect import (
    beats,
    commands,
    ctld_starts,
    dead_letters,
    gave_up,
    gave_up_at,
    hook_calls,
    requeued,
    set_down,
    steps,
    suspending,
    tracebacks,
)
from storm.evidence import Command, DeadLetter, HookCall
from workers.config.tables import LogSettings
from workers.process.logs import configure_logs


def test_nothing_of_the_product_collects_or_judges_the_evidence() -> None:
    """What it gets wrong, it would get wrong on both sides."""
    root = Path(__file__).parents[2] / "storm"
    files = [*(root / "rules").glob("*.py")]
    files += [root / f"{name}.py" for name in ("checker", "evidence", "collect", "dead_letters")]
    imported = {
        name.partition(".")[0]
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert "storm" in imported
    assert imported & {"schemas", "producers", "workers", "ops"} == set()


def test_hook_calls_are_read_with_their_ends() -> None:
    lines = ("7 begin 1.5 resume node[1-2]", "8 begin 2.0 suspend node3", "7 end 2.5 0")
    assert set(hook_calls(lines)) == {
        HookCall("resume", ("node1", "node2"), 1.5, 0, 2.5),
        HookCall("suspend", ("node3",), 2.0, None),
    }


def test_set_down_is_read_from_slurmctlds_log() -> None:
    log = (
        "[2026-11-28T21:19:44.496] update_node: node node19 reason set to: lamplighter: quota\n"
        "[2026-11-28T21:19:44.497] update_node: node node19 state set to DOWN\n"
        "[2026-11-28T21:20:30.725] update_node: node node9 state set to IDLE\n"
        "[2026-11-28T21:20:31.725] update_node: node node7 reason set to: lamplighter: network: x\n"
        "[2026-11-28T21:20:31.726] powering down node node7\n"
        "[2026-11-28T21:20:32.725] update_node: node node8 reason set to: storm\n"
        "[2026-11-28T21:20:32.726] powering down node node8\n"
    )
    assert [node for node, _ in set_down(log)] == ["node19", "node7"]


def test_steps_tell_hooks_from_others() -> None:
    def line(more: str) -> str:
        return (
            '{"type": "lamplighter.node.request.accepted.v1", "subject": "node1", '
            '"time": "2026-11-28T21:19:44Z", "data": {"request_id": "r", "round": 1, '
            f'"kind": "resume", "note": "by root: x"{more}}}}}'
        )

    senders = ("test-5-hook", "test-5-relay", "test-5-operator", "test-5-resync")
    read = steps([line(""), *(line(f', "sender": "{name}"') for name in senders)])
    assert [one.origin for one in read] == [None, "hook", "hook", "operator", "resync"]


def test_dead_letters_are_read_with_their_requests() -> None:
    lines = (
        '{"id": "r1", "died_at": "1970-01-01T00:02:00.5Z", "cause": "quota", "message": "no", "node": "node1"}',
        '{"id": "sha256:7", "died_at": null, "cause": "malformed", "message": "what?"}',
    )
    assert list(dead_letters(lines)) == [
        DeadLetter("node1", "quota", "no", 120.5, "r1"),
        DeadLetter("", "malformed", "what?", None, "sha256:7"),
    ]


def test_beats_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "7.node1.1.0").write_text("begin 1.0\nalive 1.5\n")
    (tmp_path / "9_2.node2.2.0").write_text("begin 2.0\nterm 2.5\n")
    assert [(task.job, task.node, task.last, task.end) for task in beats(tmp_path)] == [
        ("7", "node1", 1.5, None),
        ("9_2", "node2", 2.5, "term"),
    ]


@pytest.mark.parametrize("settings", [LogSettings(format="json"), LogSettings(format="console")])
def test_an_exception_is_found_in_a_log_as_the_workers_write_it(
    settings: LogSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    request.addfinalizer(structlog.reset_defaults)
    configure_logs(settings, role="power", cluster="demo")
    log = structlog.get_logger()
    log.info("started", exception=None)
    try:
        int("what?")
    except ValueError:
        log.exception("defect")
    written = tmp_path / "power.log"
    written.write_text(capsys.readouterr().err)
    [place] = tracebacks([written])
    assert place != f"{written}:1"


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        "  + Exception Group Traceback (most recent call last):",
        "Exception in thread connection:",
        "Exception ignored in: <function Link.__del__ at 0x7f>",
        "Fatal Python error: Segmentation fault",
        "RuntimeWarning: coroutine 'Live.close' was never awaited",
        "Task exception was never retrieved",
        '{"worker": "power", "code": -11, "event": "process_ended"}',
        '{"event": "defect", "exception": "ValueError: what?"}',
    ],
)
def test_a_defect_is_found_in_whatever_form_python_writes_it(line: str, tmp_path: Path) -> None:
    written = tmp_path / "power.log"
    written.write_text(f'{{"code": -9, "event": "process_ended", "exception": null}}\n{line}\n')
    assert list(tracebacks([written])) == [f"{written}:2"]


def test_calls_and_starts_are_read_from_slurmctlds_log() -> None:
    log = (
        "[2026-11-29T15:11:06.663] POWER: power_save: pid 32017 suspending nodes node[1-2]\n"
        "[2026-11-29T15:11:06.699] POWER: power_save: pid 32018 waking nodes node47\n"
        "[2026-11-29T15:11:06.700] POWER: power_save: suspending nodes node24\n"  # 24.11
        "[2026-11-29T15:11:07.803] slurmctld version 22.05.8 started on cluster testbed\n"
    )
    assert [node for node, _ in suspending(log)] == ["node1", "node2", "node24"]
    [(_, called), *_], [started] = suspending(log), ctld_starts(log)
    assert 1.1 < started - called < 1.2


def test_jobs_that_slurm_gave_up_are_read_from_slurmctlds_log() -> None:
    log = (
        "[2026-11-29T15:17:17.463] _slurm_rpc_kill_job: REQUEST_KILL_JOB JobId=4796 uid 0\n"
        "[2026-11-29T15:15:22.067] _job_complete: JobId=4363+0(4363) WEXITSTATUS 1\n"
        "[2026-11-29T15:15:22.067] _job_complete: JobId=3433_1(3440) WEXITSTATUS 143\n"
        "[2026-11-29T15:15:22.067] _job_complete: JobId=12 WEXITSTATUS 0\n"
        "[2026-11-29T15:15:22.067] _job_complete: JobId=13 WTERMSIG 126\n"
        "[2026-11-29T15:15:22.068] _job_complete: JobId=12 done\n"
        "[2026-11-29T16:03:44.279] Time limit exhausted for JobId=170\n"
    )
    assert gave_up(log) == {
        "4796": "REQUEST_KILL_JOB",
        "4363": "WEXITSTATUS 1",
        "3433_1": "WEXITSTATUS 143",
        "13": "WTERMSIG 126",
        "170": "Time limit exhausted",
    }
    at = gave_up_at(log)
    assert at.keys() == gave_up(log).keys()
    assert at["170"] - at["4796"] == pytest.approx(46 * 60 + 26.816)


def test_requeues_are_read_from_the_log_of_slurmctld() -> None:
    log = (
        "[2026-11-30T17:37:42.370] debug:  _job_requeue_op: JobId=1339 state 0x0 reason 0 priority -66685\n"
        "[2026-11-30T17:37:43.000] requeue job JobId=12 due to failure of node node1\n"
        "[2026-11-30T17:37:44.370] debug:  _job_requeue_op: JobId=7_2(9) state 0x0 reason 0 priority 1\n"
    )
    (one, first), (other, second) = requeued(log)
    assert (one, other) == ("1339", "7_2")
    assert second - first == pytest.approx(2.0)


def test_commands_are_read_with_their_times() -> None:
    log = "10.500 12.250 nodes retire node7 --yes: 0\nnode7: retired\n13.0 is no time: 7\n"
    assert list(commands(log)) == [Command(("nodes", "retire", "node7", "--yes"), 10.5, 12.25)]
