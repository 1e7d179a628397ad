"""Commands that run in forks behave as programs of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.testbed.commands import run_command
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

SITE = 'cluster = "c"\n[broker]\nurl = "amqp://u@127.0.0.1:{port}/v"\npassword_file = "password"\n'
ENDS = """
import os, tests.testbed.commands as commands
commands.run_command(["--version"])
[server] = [int(pid) for pid in open(f"/proc/self/task/{os.getpid()}/children").read().split()]
print(server, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    "words",
    [["--version"], ["nodes"], ["no such"], ["--config", "missing.toml", "status"], ["config"]],
)
def test_output_and_exit_code_are_those_of_the_program(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "lamplighter.toml").write_text(SITE.format(port=1))
    alone = subprocess.run(
        [sys.executable, "-m", "ops.cli.main", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=MINIMAL_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
    )
    forked = run_command(words, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        alone.returncode,
        alone.stdout,
        alone.stderr,
    )


def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = SITE.format(port=silent.getsockname()[1])
        (tmp_path / "lamplighter.toml").write_text(text)
        (tmp_path / "password").touch(mode=0o600)
        (tmp_path / "password").write_text("p")
        with pytest.raises(subprocess.TimeoutExpired):
            run_command(["--config", "lamplighter.toml", "status"], cwd=tmp_path, timeout=0.5)
    assert run_command(["--version"]).returncode == 0


def test_the_server_ends_with_its_owner_however_that_ends() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    server = int(done.stdout)
    until(lambda: not is_running(server), 10, "the end of the server")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
