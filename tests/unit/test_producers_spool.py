"""The spool: calls are durable and published by one process; errors are reported."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from producers import clock, disk, hook, relay, spool
from producers.call import HookCall, call_from
from producers.config_file import note_hooks_file
from producers.message import PublishResult
from producers.settings import hook_settings
from schemas.commands import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from _typeshed import TraceFunction

ROOT = Path(__file__).parents[2]
CALL = HookCall(
    kind=Kind.RESUME,
    cluster="vespa",
    nodes="node[1-3]",
    generation=1_767_323_045_678_901_000,
    correlation_id="0123456789abcdef" * 2,
    expiry=None,
    resume_file="{}",
    origin="controller",
)
PROGRAM = """
import os, signal, sys
from pathlib import Path
from producers import spool
from tests.unit.test_producers_spool import *
folder = Path(sys.argv[1])
"""


def calls(folder: Path, reports: list[str] | None = None) -> list[HookCall]:
    """The calls that a relay would publish now; releases them again."""
    found = []
    report = reports.append if reports is not None else pytest.fail
    for spooled in spool.claim(spool.waiting(folder), "vespa", report):
        assert isinstance(spooled.call, HookCall)
        found.append(spooled.call)
        spooled.release()
    return found


def put(folder: Path, call: HookCall = CALL) -> Path:
    """Spool a call as a hook does that has ended."""
    spooled = spool.put(folder, call)
    spooled.release()
    return spooled.path


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own; it has `spool`, `CALL` and the folder."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(folder)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def spooling(folder: Path) -> Callable[[], object]:
    return lambda: spool.put(folder, CALL)


def keeping_node2(folder: Path) -> Callable[[], object]:
    put(folder)
    (spooled,) = spool.claim(spool.waiting(folder), "vespa", print)
    return lambda: spooled.keep(["node2"])


def killed_at_each_line(folder: Path, prepare: Callable[[Path], Callable[[], object]]) -> None:
    """Run an action in folder/1, folder/2, ...: killed (-9) before its 1st line, its 2nd, ...

    Lines of spool.py and disk.py count. The last run is the first that comes to its end.
    """
    for turn in count(1):
        child = os.fork()
        if child == 0:
            act = prepare(folder / str(turn))
            _kill_at_line(turn)
            act()
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in {0, -signal.SIGKILL}
        if code == 0:
            return


def _kill_at_line(turn: int) -> None:
    lines = count(1)

    def watch(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        if frame.f_code.co_filename not in {spool.__file__, disk.__file__}:
            return None
        if event == "line" and next(lines) == turn:
            os.kill(os.getpid(), signal.SIGKILL)
        return watch

    sys.settrace(watch)


def left_by_each_kill(folder: Path, prepare: Callable[[Path], Callable[[], object]]) -> list[Path]:
    """The folder of each run; no kill came in the last one."""
    # A process without threads can fork.
    done = run(folder, f"killed_at_each_line(folder, {prepare.__name__})")
    assert done.returncode == 0, done.stderr
    return sorted(folder.iterdir(), key=lambda path: int(path.name))


def test_calls_are_read_again_oldest_generation_first(tmp_path: Path) -> None:
    for offset in (2, 0, 1):
        put(tmp_path, replace(CALL, generation=CALL.generation + offset))
    found = calls(tmp_path)
    assert [call.generation - CALL.generation for call in found] == [0, 1, 2]
    assert found[0] == CALL


def test_spool_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    assert put(tmp_path).stat().st_mode & 0o077 == 0


def test_missing_folders_are_made(tmp_path: Path) -> None:
    put(tmp_path / "var" / "spool" / "lamplighter")
    assert calls(tmp_path / "var" / "spool" / "lamplighter") == [CALL]
    assert spool.waiting(tmp_path / "never made") == []


@pytest.mark.slow
def test_kill_at_any_line_of_spooling_leaves_a_whole_call_or_none(tmp_path: Path) -> None:
    """P1: kill -9 before each line leaves no half call, and does not block the next one."""
    other = replace(CALL, correlation_id="f" * 32)
    *killed, _ = left_by_each_kill(tmp_path, spooling)
    whole = 0
    for folder in killed:
        found = calls(folder)
        assert found in ([], [CALL])
        whole += bool(found)
        put(folder, other)
        assert other in calls(folder)
    assert len(killed) > 15, "the steps were not met"
    assert 0 < whole < len(killed), "killed before and after the call was whole"


@pytest.mark.slow
def test_kill_at_any_line_of_keeping_the_rest_loses_no_node(tmp_path: Path) -> None:
    """P1: the broker has node1 and node3; node2 stays in the spool in every case."""
    *killed, ended = left_by_each_kill(tmp_path, keeping_node2)
    for folder in killed:
        (left,) = calls(folder)
        assert left in (CALL, replace(CALL, nodes="node2"))
    assert calls(ended) == [replace(CALL, nodes="node2")]
    assert len(killed) > 10, "the steps were not met"


def test_other_processes_skip_a_call_that_one_publishes(tmp_path: Path) -> None:
    spooled = spool.put(tmp_path, CALL)
    assert calls(tmp_path) == []
    spooled.release()
    assert calls(tmp_path) == [CALL]


def test_the_call_of_a_killed_process_is_available_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, "spool.put(folder, CALL)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL
    assert calls(tmp_path) == [CALL]


def test_a_published_call_is_removed(tmp_path: Path) -> None:
    spooled = spool.put(tmp_path, CALL)
    spooled.done()
    assert list(tmp_path.iterdir()) == []
    spooled.done()


def test_a_call_published_between_open_and_lock_is_not_published_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path)
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        path.unlink(missing_ok=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert calls(tmp_path) == []


def test_a_call_replaced_between_open_and_lock_is_left_to_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path)
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if path.read_bytes() == CALL.to_json():
            fresh = path.with_suffix(".fresh")
            fresh.write_bytes(replace(CALL, nodes="node2").to_json())
            fresh.rename(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert calls(tmp_path) == []
    assert [call.nodes for call in calls(tmp_path)] == ["node2"]


def test_the_kept_rest_has_the_same_ids_and_file_name(tmp_path: Path) -> None:
    path = put(tmp_path)
    (spooled,) = spool.claim([path], "vespa", pytest.fail)
    spooled.keep(["node1", "node3"])
    assert spool.waiting(tmp_path) == [path]
    assert calls(tmp_path) == [replace(CALL, nodes="node1,node3")]


def test_a_call_whose_rest_cannot_be_written_is_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path)
    (spooled,) = spool.claim([path], "vespa", pytest.fail)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _no_space)
        with pytest.raises(spool.SpoolError, match="No space left"):
            spooled.keep(["node1"])
    assert calls(tmp_path) == [CALL]
    assert list(tmp_path.iterdir()) == [path]


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_in_place_of_the_folder_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(spool.SpoolError, match=r"hooks\.spool: .*spool; a file is in the way"):
        spool.put(tmp_path / "spool", CALL)
    with pytest.raises(spool.SpoolError, match=r"hooks\.spool: .*spool; a file is in the way"):
        spool.waiting(tmp_path / "spool")


def test_a_full_disk_is_reported_and_leaves_no_half_call(tmp_path: Path) -> None:
    """The limit on file size acts like a disk that fills up during a write."""
    program = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    spool.put(folder, CALL)
except spool.SpoolError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""
    done = run(tmp_path, program)
    assert done.returncode == 3
    assert "hooks.spool: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_hook_that_may_start_no_thread_says_that_its_call_is_spooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's name is resolved in one; pids.max or RLIMIT_NPROC may be reached."""
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o600)
    config = tmp_path / "lamplighter.toml"
    config.write_text(
        'cluster = "vespa"\n[broker]\nurl = "amqp://u@127.0.0.1:1/v"\npassword_file = "password"\n'
        '[hooks]\nspool = "spool"\n'
    )
    settings = hook_settings(config)
    monkeypatch.setattr("threading.Thread.start", Mock(side_effect=RuntimeError("no new thread")))
    sent = hook.submit(settings, CALL, 3.0)
    assert sent.unsafe is None
    assert "cannot connect" in (sent.open or "")
    assert "no new thread" in (sent.open or "")
    assert calls(settings.own_spool) == [CALL]


def test_a_file_that_no_hook_wrote_is_set_aside_and_blocks_no_call(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "00000000000000000001-x.call").write_bytes(b"not a call")
    (tmp_path / "00000000000000000002-x.call").write_bytes(replace(CALL, nodes="node[").to_json())
    reports: list[str] = []
    assert calls(tmp_path, reports) == [CALL]
    assert len(list(tmp_path.glob("*.unreadable"))) == 2
    assert ["set aside as" in line for line in reports] == [True, True]
    assert calls(tmp_path) == [CALL]


def test_what_slurmuser_puts_into_the_operators_spool_is_not_sent_as_an_operators(
    tmp_path: Path,
) -> None:
    """It owns the folder above, and could put a folder of its own there: a retirement would delete a server."""
    if os.geteuid() != 0:
        return
    folder = tmp_path / "operator"
    own = put(folder)
    forged = put(folder, replace(CALL, kind=Kind.RETIRE, generation=CALL.generation + 1))
    for path in (tmp_path, folder, forged):
        os.chown(path, 65_534, 65_534)
    reports: list[str] = []
    claimed = list(spool.claim([own, forged], "vespa", reports.append, of_hooks=False))
    assert [one.call for one in claimed] == [CALL]
    assert f"{forged} belongs to user nobody" in reports[0]
    assert forged.exists()
    for one in claimed:
        one.release()
    # that of the hooks is its own
    assert len(calls(folder)) == 2


@pytest.mark.parametrize(
    ("mode", "owner", "words"),
    [
        (0o600, 64_999, "belongs to user uid 64999"),
        (0o666, None, "can be changed by other users (mode 0666)"),
        (0o620, None, "can be changed by other users (mode 0620)"),
    ],
)
def test_a_call_that_another_user_could_write_is_set_aside_in_the_hooks_spool(
    tmp_path: Path, mode: int, owner: int | None, words: str
) -> None:
    """In a folder that anybody can change, anybody could power nodes on and off as a hook."""
    tmp_path.chmod(0o777)
    foreign = put(tmp_path, replace(CALL, generation=CALL.generation - 1))
    if owner is not None:
        assert os.geteuid() == 0, "run as root: a file of another user is needed"
        os.chown(foreign, owner, owner)
    foreign.chmod(mode)
    put(tmp_path)
    reports: list[str] = []
    assert calls(tmp_path, reports) == [CALL], "the hooks' own is sent"
    (report,) = reports
    assert f"{foreign} {words}" in report
    assert "set aside as" in report
    assert foreign.with_suffix(".unreadable").exists()
    assert calls(tmp_path, reports) == [CALL]
    assert len(reports) == 1, "said once"


def test_root_writes_through_no_link_that_slurmuser_has_put_into_its_folders(
    tmp_path: Path,
) -> None:
    """Its target would be overwritten, and then be SlurmUser's."""
    target = tmp_path / "target"
    target.write_text("")
    for name in ("generation", "hooks-read.vespa", "1.partial"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(
        clock.ClockError, match=r"a symbolic link is in the way: remove .*/generation"
    ):
        clock.stamp(tmp_path)
    with pytest.raises(spool.SpoolError, match="a symbolic link is in the way"):
        spool._write(tmp_path / "1.call", CALL)
    (tmp_path / "1.partial").unlink(missing_ok=True)
    config = tmp_path / "lamplighter.toml"
    config.write_text(
        'cluster = "vespa"\n[broker]\nurl = "amqp://u@127.0.0.1/v"\n[hooks]\nstate = "."\n'
    )
    note_hooks_file(config, hook_settings(config), {})
    assert target.read_text() == ""
    assert (tmp_path / "hooks-read.vespa").is_symlink()


def test_a_call_of_another_cluster_stays_for_its_own_relay_and_blocks_no_call(
    tmp_path: Path,
) -> None:
    """Two clusters of one host may have the same hooks.spool; each has a broker of its own."""
    other = put(tmp_path, replace(CALL, cluster="etna", generation=CALL.generation - 1))
    put(tmp_path)
    reports: list[str] = []
    assert calls(tmp_path, reports) == [CALL]
    (report,) = reports
    assert f"{other} is a call of cluster 'etna', not of vespa" in report
    assert "hooks.spool of its own" in report
    (spooled,) = spool.claim([other], "etna", pytest.fail)
    spooled.release()


def test_a_file_that_cannot_be_opened_is_reported_and_blocks_no_call(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "00000000000000000001-x.call").mkdir()
    reports: list[str] = []
    assert calls(tmp_path, reports) == [CALL]
    assert len(reports) == 1
    assert "00000000000000000001-x.call: cannot be read: Is a directory" in reports[0]


def test_unfinished_files_are_removed_after_an_hour(tmp_path: Path) -> None:
    old, young = tmp_path / "1-x.partial", tmp_path / "2-x.partial"
    for path in (old, young):
        path.write_bytes(CALL.to_json()[:20])
    os.utime(old, (time.time() - 3601,) * 2)
    assert spool.remove_torn(tmp_path) == ["1-x.partial"]
    assert list(tmp_path.iterdir()) == [young]


def test_a_call_is_as_old_as_its_generation_or_as_its_file(tmp_path: Path) -> None:
    """A part of an old call is written again; a clock that was wrong has stamped the future."""
    now = time.time_ns()
    minute, hour = 60 * 10**9, 3600 * 10**9
    rewritten = tmp_path / f"{now - minute:020d}-a.call"
    future, nameless = tmp_path / f"{now + hour:020d}-b.call", tmp_path / "x.call"
    for path in (rewritten, future, nameless):
        path.touch()
    for path in (future, nameless):
        os.utime(path, ns=(now - minute, now - minute))
    for path in (rewritten, future, nameless):
        assert 60 <= spool.age(path) < 70, path
    assert spool.age(tmp_path / "sent.call") == 0


def test_a_call_spooled_by_an_earlier_version_is_read(tmp_path: Path) -> None:
    body = (
        b'{"kind": "resume", "cluster": "vespa", "nodes": "node[1-3]", "generation":'
        b' 1767323045678901000, "correlation_id": "0123456789abcdef0123456789abcdef",'
        b' "expiry": null, "resume_file": "{}", "origin": "controller", "note": null}'
    )
    (tmp_path / "00000000000000000001-x.call").write_bytes(body)
    assert calls(tmp_path) == [CALL] == [call_from(CALL.to_json())]


def test_a_relay_that_may_not_use_the_spool_names_key_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if only an unfinished file cannot be removed; calls are sent all the same."""
    config = tmp_path / "lamplighter.toml"
    config.write_text(
        'cluster = "vespa"\n[broker]\nurl = "amqp://127.0.0.1:1/v"\n[hooks]\nspool = "spool"\n'
    )
    config.chmod(0o600)
    settings = hook_settings(config)
    sent: list[object] = []

    def deliver(
        _settings: object, _name: str, batches: Iterable[object], _: float
    ) -> PublishResult:
        sent.extend(batches)
        return PublishResult(problem=None, lost=False)

    monkeypatch.setattr(relay, "deliver", deliver)
    (settings.spool / "1-x.partial").mkdir(parents=True)
    os.utime(settings.spool / "1-x.partial", (time.time() - 3601,) * 2)
    put(settings.spool)
    problem = relay.sweep(settings)
    assert len(sent) == 1
    assert problem is not None
    assert problem.startswith("hooks.spool: ")
    assert str(settings.spool) in problem
    monkeypatch.setattr(os, "listdir", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert "hooks.spool: Permission denied: " in (relay.sweep(settings) or "")


def test_where_anybody_could_put_a_folder_its_owner_does_not_make_calls_of_hooks(
    tmp_path: Path,
) -> None:
    """The whole spool may then be another user's; its own calls are sent, and others' wait for their owner."""
    assert os.geteuid() == 0, "run as root: files of another user are needed"
    folder = tmp_path / "open" / "spool"
    put(folder)
    foreign = put(folder, replace(CALL, generation=CALL.generation + 1))
    for path in (folder, foreign):
        os.chown(path, 64_999, 64_999)
    assert len(calls(folder)) == 2, "root sends SlurmUser's"
    folder.parent.chmod(0o777)
    reports: list[str] = []
    assert calls(folder, reports) == [CALL]
    assert f"{foreign} belongs to user uid 64999" in reports[0]
    assert foreign.exists()
    folder.parent.chmod(0o1777)
    assert len(calls(folder)) == 2, "as in /tmp"
