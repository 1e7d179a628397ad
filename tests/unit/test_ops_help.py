"""The help of every command is complete on a terminal of 80 columns."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from docs.generate import commands
from ops.cli.main import cli
from ops.processes.worker import WORKERS

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
