"""What is read from outside ends in a value or a named error, in bounded time and memory.

Each reader gets a FIFO that nobody writes, a device that never ends, a file that is too large, a folder
and a link into nothing in place of its file; each program prints without end, or never ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

import pytest

from ops.cli.errors import StoreMissingError
from ops.cli.session import _reader
from ops.console.operators import logouts_file, read_logouts
from ops.doctor.secrets import known_secrets
from ops.install.place import PlannedFile
from ops.install.slurm_conf import read_slurm_conf
from producers import clock, disk, hook, spool
from producers.call import HookCall, call_from, commands
from producers.config_file import hooks_file, note_hooks_file
from producers.report import report
from producers.settings import ConfigError, HookSettings, hook_settings
from schemas.commands import Kind
from tests.testbed.waiting import until
from workers.process.programs import TooMuchOutputError, run_program
from workers.slurm.run_reporter import recall
from workers.slurm.runs import NOTHING
from workers.slurm.scontrol_session import ScontrolSession
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretCommand

if TYPE_CHECKING:
    from collections.abc import Callable

READ_SECONDS = 5.0
LIMIT = 2**16


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 * LIMIT)


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


KINDS = (fifo, device, endless, folder, loop)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def odd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Puts something odd in a file's place."""
    monkeypatch.setattr(disk.read_file, "__defaults__", (LIMIT, lambda _: None))
    monkeypatch.setattr(hook, "MOST_RESUME_FILE", LIMIT)
    monkeypatch.setattr(spool, "_MOST_BYTES", LIMIT)

    def put(path: Path) -> Path:
        path.parent.mkdir(exist_ok=True, parents=True)
        request.param(path)
        return path

    return put


@pytest.fixture
def settings(tmp_path: Path) -> HookSettings:
    config = tmp_path / "lamplighter.toml"
    config.write_text('cluster = "vespa"\n[broker]\nurl = "amqp://a@127.0.0.1/v"\n')
    found = hook_settings(config)
    return replace(found, log_file=tmp_path / "log", state=tmp_path / "state")


def in_time(read: Callable[[], object]) -> object:
    began = time.monotonic()
    try:
        return read()
    finally:
        assert time.monotonic() - began < READ_SECONDS


def call(resume_file: str | None) -> HookCall:
    return HookCall(Kind.RESUME, "vespa", "node1", 1, "0" * 32, None, resume_file, "controller")


def test_a_resume_file_that_cannot_be_read_costs_the_jobs_not_the_nodes(
    tmp_path: Path, odd: Callable[[Path], Path]
) -> None:
    environ = {"SLURM_RESUME_FILE": str(odd(tmp_path / "resume"))}
    content, note = hook._resume_file(environ)
    assert content is None
    assert note is not None
    assert note.startswith("SLURM_RESUME_FILE: ")
    (command,) = commands(replace(call(None), note=note))
    assert command.note == note


def test_the_largest_resume_file_is_read_from_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bytes that are not UTF-8, each of which JSON writes as six."""
    monkeypatch.setattr(hook, "MOST_RESUME_FILE", LIMIT)
    monkeypatch.setattr(
        spool, "_MOST_BYTES", spool._MOST_BYTES - 6 * (spool.MOST_RESUME_FILE - LIMIT)
    )
    file = tmp_path / "resume"
    file.write_bytes(b"\xff" * LIMIT)
    content, note = hook._resume_file({"SLURM_RESUME_FILE": str(file)})
    assert note is None
    longest = replace(
        call(content), nodes=",".join(f"n{n}" for n in range(20_000)), note="\0" * 4096
    )
    spool.put(tmp_path / "spool", longest).release()
    (spooled,) = spool.claim(spool.waiting(tmp_path / "spool"), "vespa", pytest.fail)
    assert spooled.call == longest
    assert len(longest.to_json()) > 6 * LIMIT
    spooled.release()


def test_an_odd_file_in_the_spool_blocks_no_call(
    tmp_path: Path, odd: Callable[[Path], Path]
) -> None:
    spool.put(tmp_path / "spool", call(None)).release()
    odd(tmp_path / "spool" / f"{0:020d}-odd.call")
    told: list[str] = []
    found = in_time(
        lambda: list(spool.claim(spool.waiting(tmp_path / "spool"), "vespa", told.append))
    )
    assert isinstance(found, list)
    assert [one.call for one in found] == [call(None)]
    assert len(told) == 1
    assert "odd.call" in told[0]


def test_odd_notes_and_clocks_never_block_a_hook(
    tmp_path: Path, odd: Callable[[Path], Path], settings: HookSettings
) -> None:
    odd(settings.state / "generation")
    note = odd(settings.state / "hooks-read.vespa")
    config = tmp_path / "lamplighter.toml"
    in_time(lambda: note_hooks_file(config, settings, {}))
    assert in_time(lambda: hooks_file(config, settings)) is None
    assert note.is_dir() or note.is_symlink() or note.read_text() == str(config)
    for read in (clock.last_generation, clock.stamp):
        with suppress(clock.ClockError):
            assert isinstance(in_time(partial(read, settings.state)), int)


def test_an_odd_store_never_blocks_a_command(tmp_path: Path, odd: Callable[[Path], Path]) -> None:
    # On SQLite: its file.
    url = f"sqlite:///{odd(tmp_path / 'state.db')}"
    with suppress(StoreMissingError):
        in_time(lambda: _reader(url, "store.url").dispose())


def test_a_log_that_nobody_reads_never_blocks_a_hook(
    odd: Callable[[Path], Path], settings: HookSettings
) -> None:
    assert settings.log_file is not None
    odd(settings.log_file)
    assert in_time(lambda: report(settings, 1, "a problem")) == 1


def test_the_files_of_workers_and_commands_never_block_them(
    tmp_path: Path, odd: Callable[[Path], Path]
) -> None:
    path = odd(tmp_path / "file")
    odd(logouts_file(tmp_path / "operators"))
    for read in (
        lambda: read_slurm_conf(path),
        lambda: PlannedFile(path, "text").found(),
        lambda: read_logouts(tmp_path / "operators"),
        lambda: list(known_secrets(path, {"PGPASSFILE": str(path)})),
        lambda: recall(path, NOTHING),
    ):
        with suppress(ConfigError, OSError):
            in_time(read)


def test_a_damaged_memory_that_is_no_file_is_forgotten(tmp_path: Path) -> None:
    fifo(tmp_path / "reported_runs.json")
    assert recall(tmp_path / "reported_runs.json", NOTHING) == NOTHING


def test_a_file_replaced_while_it_is_opened_never_blocks(tmp_path: Path) -> None:
    """The open file is checked, not the name: what has the name may change in between."""
    path = tmp_path / "file"
    fifo(path)
    with pytest.raises(disk.UnusualFileError, match="is not a file"):
        in_time(lambda: disk.read_file(path))


def program(tmp_path: Path, body: str) -> str:
    path = tmp_path / "program"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_that_prints_without_end_is_ended(tmp_path: Path, stream: str) -> None:
    endless_one = program(
        tmp_path,
        "import os, sys\nopen(sys.argv[1], 'w').write(str(os.getpid()))\n"
        f"while True: print('x' * 4096, file=sys.{stream})",
    )
    pid = tmp_path / "pid"
    with pytest.raises(TooMuchOutputError, match="more than 65536 bytes"):
        run_program([endless_one, str(pid)], 30.0, most=LIMIT)
    assert not Path("/proc", pid.read_text()).exists()


@pytest.mark.slow
def test_a_program_that_never_ends_is_ended_with_its_children(tmp_path: Path) -> None:
    """A child that holds the output would keep its reader waiting."""
    parent = program(
        tmp_path,
        "import os, sys, time\npid = os.fork()\n"
        "if pid: open(sys.argv[1], 'w').write(str(pid))\ntime.sleep(600)",
    )
    pid = tmp_path / "pid"
    with pytest.raises(TimeoutExpired):
        run_program([parent, str(pid)], 2.0)
    until(lambda: not alive(pid.read_text()), 5, "the end of the child")


@pytest.mark.slow
def test_a_program_that_prints_slowly_but_always_ends_in_time(tmp_path: Path) -> None:
    """There is always something to read, and it never becomes too much."""
    chatty = program(tmp_path, "while True: print('x', flush=True)")
    before = time.monotonic()
    with pytest.raises(TimeoutExpired):
        run_program([chatty], 1.0)
    assert time.monotonic() - before < 20.0


def alive(pid: str) -> bool:
    try:
        return " Z " not in Path("/proc", pid, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_secret_store_that_prints_without_end_is_a_named_error(tmp_path: Path) -> None:
    command = program(tmp_path, "while True: print('s3cr3t' * 999)")
    with pytest.raises(SourceError, match="printed more than 1048576 bytes") as caught:
        SecretCommand((command,)).read()
    assert "s3cr3t" not in str(caught.value)


def test_a_scontrol_that_prints_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.slurm.scontrol_session._MOST_BYTES", LIMIT)

    class Endless:
        def converse(self, *_: str) -> object:
            import subprocess  # noqa: PLC0415

            return subprocess.Popen(
                [program(tmp_path, "while True: print('x' * 4096)")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    session = ScontrolSession(Endless())  # type: ignore[arg-type]
    session.ask("show node")
    until(lambda: (session.answer(), session.fds) == (None, []), 10, "its end")


def test_json_of_the_spool_that_is_too_deep_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.call").write_text("[" * 100_000)
    told: list[str] = []
    assert list(spool.claim(spool.waiting(tmp_path), "vespa", told.append)) == []
    assert "set aside" in told[0]
    with pytest.raises(Exception, match="not written by a hook"):
        call_from(json.dumps([1]).encode())
