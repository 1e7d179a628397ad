"""The help of every command is complete on a terminal of 80 columns."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from docs.generate import commands
from ops.cli.main import cli
from ops.site.worker import WORKERS
from tests.testbed.installation import Installation

WIDTH = 80
ROOT = Path(__file__).parents[2]


COMMANDS = dict(commands(cli))


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(
        cli, [*path, "--help"], terminal_width=WIDTH, max_content_width=WIDTH
    )
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_line_of_help_is_cut_short(path: tuple[str, ...]) -> None:
    usage, _, rest = help_of(path).partition("\n\n")
    assert usage.startswith("Usage: ")
    for line in rest.splitlines():
        assert not line.endswith("..."), line


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.opts


def test_every_worker_is_a_command_with_a_line_in_the_list() -> None:
    listed = help_of(("worker",)).splitlines()
    for name in WORKERS:
        summary = COMMANDS["worker", name].short_help
        assert summary
        assert any(line.split() == [name, *summary.split()] for line in listed), name


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    result = CliRunner().invoke(cli, ["--version"], prog_name="lamplighter")
    assert result.output == f"lamplighter, version {project['version']}\n"


def lamplighter(*words: str | bytes | Path, shell: str = "", **environment: str) -> tuple[int, str]:
    """Run the command in a process of its own; its exit code and what it prints to stderr."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "ops.cli", *words],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(tmp_path: Path, closed: str) -> None:
    site = Installation(tmp_path, "amqp://user:secret@127.0.0.1:1/vhost")
    assert lamplighter("--config", site.config, "topology", "show", shell=closed) == (0, "")


@pytest.mark.slow
def test_a_word_that_is_not_utf_8_is_refused_and_any_locale_may_write_utf_8() -> None:
    for words in (("hold", "node1", "--reason", b"caf\xe9"), ("hold", b"\xe9", "--reason", "r")):
        code, said = lamplighter(*words)
        assert (code, said.count("\n")) == (2, 1), said
        assert "is not text (write it in UTF-8)" in said
    for old in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        code, said = lamplighter("audit", "show", "é", "--config", "café", **old)
        assert (code, "Traceback" in said) == (2, False), said
